//! What a shard notes of a request, as bytes: numbers of fixed places, then the head as it came, and who asked.
//!
//! Invariants: what is put in comes out; the head is copied, and looked at only by who reads it.
//!
//! Not here: the blocks that notes lie in (`block`), and what is made of them (`text`, `json`).

use crate::queue::LogText;
use crate::record::Address;

/// Bytes of a head that are noted as they came. Of a longer one the shard notes what logs use of it, each part cut to
/// one of the lengths below.
pub(crate) const HEAD_BYTES_MAX: usize = 8192;
/// Of a target in a longer head.
pub(crate) const TARGET_BYTES_MAX: usize = 4096;
/// Of a field's value in a longer head.
pub(crate) const VALUE_BYTES_MAX: usize = 512;
/// The longest user name that is noted.
pub(crate) const USER_BYTES_MAX: usize = 255;

/// Bytes before a note's head: see `put`.
const FIXED_BYTES: usize = 88;
/// The most bytes of a note.
pub(super) const NOTE_BYTES_MAX: usize = FIXED_BYTES + HEAD_BYTES_MAX + USER_BYTES_MAX;

/// What a shard knows of a request that has ended, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogNote {
    /// Whose log: [`LogTarget::id`](super::LogTarget::id).
    pub(crate) log: u32,
    pub(crate) status: u16,
    /// When it ended, in microseconds as of [`clock::micros`](crate::clock::micros).
    pub(crate) ended: u64,
    /// Microseconds from its first byte.
    pub(crate) took: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// A note as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted<'a> {
    pub(super) note: LogNote,
    pub(super) peer: Address,
    pub(super) local: Address,
    pub(super) head: &'a [u8],
    pub(super) user: &'a [u8],
    pub(super) substatus: u16,
    pub(super) win32_status: u32,
}

/// Puts a note at the beginning of a place. Gives its bytes; `None`: there is no room for it.
#[inline(always)]
pub(super) fn put(
    place: &mut [u8],
    note: &LogNote,
    (peer, local): (&Address, &Address),
    head: &[u8],
    text: Option<&LogText>,
) -> Option<usize> {
    let (fixed, rest) = place.split_first_chunk_mut::<FIXED_BYTES>()?;
    let (head_place, user_place) = rest.split_at_mut_checked(head.len())?;
    // Written in its place, each once: whatever is put together elsewhere is read back.
    #[expect(clippy::cast_possible_truncation, reason = "a head has 65,535 bytes at most")]
    fixed[0..4].copy_from_slice(&(head.len() as u32).to_le_bytes());
    fixed[4..8].copy_from_slice(&note.log.to_le_bytes());
    fixed[8..16].copy_from_slice(&note.ended.to_le_bytes());
    fixed[16..24].copy_from_slice(&note.took.to_le_bytes());
    fixed[24..32].copy_from_slice(&note.bytes_in.to_le_bytes());
    fixed[32..40].copy_from_slice(&note.bytes_out.to_le_bytes());
    fixed[40..58].copy_from_slice(&peer.to_bytes());
    fixed[58..76].copy_from_slice(&local.to_bytes());
    fixed[76..78].copy_from_slice(&note.status.to_le_bytes());
    head_place.copy_from_slice(head);
    let user_len = match text {
        None => {
            fixed[78..86].copy_from_slice(&[0; 8]);
            0
        }
        Some(text) => put_text(fixed, user_place, text)?,
    };
    Some(FIXED_BYTES + head.len() + user_len)
}

#[cold]
fn put_text(fixed: &mut [u8; FIXED_BYTES], place: &mut [u8], text: &LogText) -> Option<usize> {
    let user = &text.user[..text.user.len().min(USER_BYTES_MAX)];
    place.get_mut(..user.len())?.copy_from_slice(user);
    fixed[78..80].copy_from_slice(&text.substatus.to_le_bytes());
    fixed[80..84].copy_from_slice(&text.win32_status.to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "cut above")]
    fixed[84..86].copy_from_slice(&(user.len() as u16).to_le_bytes());
    Some(user.len())
}

/// The first note of these bytes, and what is behind it. `None`: there is none.
pub(super) fn take(bytes: &[u8]) -> Option<(Noted<'_>, &[u8])> {
    let (fixed, rest) = bytes.split_first_chunk::<FIXED_BYTES>()?;
    let (head, rest) = rest.split_at_checked(u32::from_le_bytes(at(fixed, 0)) as usize)?;
    let (user, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(at(fixed, 84))))?;
    let note = LogNote {
        log: u32::from_le_bytes(at(fixed, 4)),
        ended: u64::from_le_bytes(at(fixed, 8)),
        took: u64::from_le_bytes(at(fixed, 16)),
        bytes_in: u64::from_le_bytes(at(fixed, 24)),
        bytes_out: u64::from_le_bytes(at(fixed, 32)),
        status: u16::from_le_bytes(at(fixed, 76)),
    };
    let (peer, local) = (Address::of_bytes(at(fixed, 40)), Address::of_bytes(at(fixed, 58)));
    let (substatus, win32_status) = (u16::from_le_bytes(at(fixed, 78)), u32::from_le_bytes(at(fixed, 80)));
    Some((Noted { note, peer, local, head, user, substatus, win32_status }, rest))
}

fn at<const N: usize>(fixed: &[u8; FIXED_BYTES], from: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&fixed[from..from + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn what_is_put_in_comes_out() {
        let address = |text: &str| Address::from(text.parse::<SocketAddr>().expect("an address"));
        let (peer, local) = (address("10.0.0.1:4711"), address("[2001:db8::1]:80"));
        let note = LogNote { log: 3, status: 404, ended: 4, took: u64::MAX, bytes_in: 6, bytes_out: 7 };
        let text = LogText { user: Box::from(&b"eve"[..]), substatus: 8, win32_status: u32::MAX };
        let head = b"GET / HTTP/1.1\r\n\r\n";
        let mut block = [0xaa; 20_000];
        let first = put(&mut block, &note, (&peer, &local), head, Some(&text)).expect("room");
        let other = put(&mut block[first..], &note, (&peer, &local), &[b'x'; HEAD_BYTES_MAX], None).expect("room");
        let block = &block[..first + other];
        let (one, rest) = take(block).expect("the first one");
        let expected = Noted { note, peer, local, head, user: b"eve", substatus: 8, win32_status: u32::MAX };
        assert_eq!(one, expected);
        let (two, rest) = take(rest).expect("the second one");
        assert_eq!((two.head.len(), two.user, two.substatus), (HEAD_BYTES_MAX, &b""[..], 0));
        assert!(rest.is_empty() && take(rest).is_none());
        assert_eq!((1..block.len()).find_map(|len| take(&block[..len])).map(|(noted, _)| noted), Some(expected));
    }

    #[test]
    fn what_has_no_room_is_not_put_in() {
        let (note, none) = (LogNote { log: 1, status: 2, ended: 3, took: 4, bytes_in: 5, bytes_out: 6 }, Address::NONE);
        let text = LogText { user: Box::from(&[b'u'; 300][..]), ..LogText::default() };
        let whole = FIXED_BYTES + 10 + USER_BYTES_MAX;
        for len in 0..whole {
            assert_eq!(put(&mut vec![0; len], &note, (&none, &none), &[b'h'; 10], Some(&text)), None);
        }
        assert_eq!(put(&mut vec![0; whole], &note, (&none, &none), &[b'h'; 10], Some(&text)), Some(whole));
    }
}
