//! Bytes that the kernel may read at any time: for ever, or until one who knows that it has done with them frees them.
//!
//! What is kept for ever is kept once for each content, and is small: a tool that runs many loads grows by the address
//! of each server it has not met before, some 20 bytes.

use std::collections::HashSet;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::ptr;
use std::sync::{Mutex, PoisonError};

static KEPT: Mutex<Option<HashSet<&'static [u8]>>> = Mutex::new(None);

/// The same bytes, kept for ever.
#[must_use]
pub fn lasting(bytes: Vec<u8>) -> &'static [u8] {
    // Nothing in between can panic and leave the set half changed.
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    if let Some(same) = kept.get(bytes.as_slice()) {
        return same;
    }
    let bytes: &'static [u8] = bytes.leak();
    kept.insert(bytes);
    bytes
}

/// Bytes that are there until they are freed on purpose; a drop lets them be for ever.
#[derive(Debug)]
pub struct Lent(ManuallyDrop<Vec<u8>>);

impl Lent {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(ManuallyDrop::new(bytes))
    }

    /// The bytes, for as long as nobody calls [`Lent::free`].
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'static [u8] {
        let bytes = ptr::from_ref(self.0.as_slice());
        // SAFETY: the bytes are initialised and never written, they stay where they are when `self` moves, and only
        // `free` ends them, whose caller answers for all that was given out here.
        unsafe { &*bytes }
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// 1. Nobody uses what [`Lent::bytes`] gave any more, the kernel included: no operation that names it is under way
    ///    or will be begun.
    pub unsafe fn free(self) {
        drop(ManuallyDrop::into_inner(self.0));
    }
}

/// An address as `connect` and `bind` read it: a `sockaddr_in` or `sockaddr_in6`.
#[must_use]
pub fn socket_address(address: SocketAddr) -> &'static [u8] {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let family = libc::sa_family_t::try_from(family).expect("address families are small numbers");
    let mut bytes = family.to_ne_bytes().to_vec();
    bytes.extend(address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
            debug_assert_eq!(bytes.len(), size_of::<libc::sockaddr_in>());
        }
        SocketAddr::V6(v6) => {
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
            debug_assert_eq!(bytes.len(), size_of::<libc::sockaddr_in6>());
        }
    }
    lasting(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_kept_once() {
        let first = lasting(b"kept once, by its content".to_vec());
        let second = lasting(b"kept once, by its content".to_vec());
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_ne!(first.as_ptr(), lasting(b"another".to_vec()).as_ptr());
    }

    #[test]
    fn lent_bytes_are_the_same_until_they_are_freed() {
        let lent = Lent::new(b"until freed".to_vec());
        let (bytes, moved) = (lent.bytes(), Box::new(lent));
        assert_eq!((bytes, moved.bytes().as_ptr()), (&b"until freed"[..], bytes.as_ptr()));
        // SAFETY: `bytes` is not used below, and no operation was begun with it.
        unsafe { moved.free() };
    }

    #[test]
    fn addresses_have_the_sizes_the_kernel_knows() {
        let v4 = socket_address("127.0.0.1:8090".parse().expect("valid"));
        assert_eq!((v4.len(), &v4[2..8]), (16, &[0x1f, 0x9a, 127, 0, 0, 1][..]));
        let v6 = socket_address("[::1]:80".parse().expect("valid"));
        assert_eq!((v6.len(), &v6[2..4], v6[23]), (28, &[0, 80][..], 1));
    }
}
