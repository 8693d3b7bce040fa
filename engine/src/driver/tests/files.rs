//! Files are read and sent.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Got, Link, Rig, for_each_driver, pattern};
use crate::driver::{FilePart, Io, Op};
use crate::mem::Cell;

/// A file without a name.
fn file(bytes: &[u8]) -> Arc<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("ringress-driver-{}-{number}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).expect("a new file");
    std::fs::remove_file(&path).expect("just made");
    file.write_all(bytes).expect("room");
    Arc::new(file)
}

/// Begins to read up to so many bytes of a file into a cell.
fn begin<I: Io>(rig: &mut Rig<I>, link: &Link, (file, offset): (&File, u64), len: u32) -> Cell {
    let mut cell = rig.stages.take().expect("one for each read");
    let into = rig.arena.landing(&mut cell, len);
    rig.io.read_file(file.as_raw_fd(), offset, into, link.token(Op::ReadFile));
    cell
}

/// What a read has brought.
fn ended<I: Io>(rig: &mut Rig<I>, link: &Link, cell: Cell) -> Result<Vec<u8>, i32> {
    let Got { token, result, more, bytes } = rig.one();
    assert!(token == link.token(Op::ReadFile) && !more && bytes.is_none());
    let read = u32::try_from(result).map_err(|_| -result).map(|len| {
        let extent = rig.arena.cell(&cell, 0, len);
        // SAFETY: the cell is in use, and the read that had it has ended.
        unsafe { rig.arena.read(extent.offset(), len) }.to_vec()
    });
    rig.stages.give(cell);
    read
}

fn files_are_read_where_it_was_said(mut rig: Rig<impl Io>) {
    let link = rig.connect();
    let bytes = pattern(10_000);
    let source = file(&bytes);
    let read = |rig: &mut Rig<_>, offset, len| {
        let cell = begin(rig, &link, (&source, offset), len);
        ended(rig, &link, cell)
    };
    assert!(read(&mut rig, 0, 5000) == Ok(bytes[..5000].to_vec()));
    assert!(read(&mut rig, 7777, 5000) == Ok(bytes[7777..].to_vec()));
    assert_eq!(read(&mut rig, 10_000, 100), Ok(Vec::new()), "the file's end");
    let closed = File::open("/").expect("there is a root");
    let cell = begin(&mut rig, &link, (&closed, 0), 100);
    assert_eq!(ended(&mut rig, &link, cell), Err(libc::EISDIR));
}

fn what_has_no_places_is_read_as_it_comes(mut rig: Rig<impl Io>) {
    let (link, other) = (rig.connect(), rig.connect());
    let (pipe, mut writer) = std::io::pipe().expect("descriptors");
    let pipe = File::from(OwnedFd::from(pipe));
    let cell = begin(&mut rig, &link, (&pipe, 1 << 40), 100);
    rig.assert_quiet();
    // A file beside it waits for nobody.
    let source = file(b"other");
    let beside = begin(&mut rig, &other, (&source, 0), 100);
    assert_eq!(ended(&mut rig, &other, beside), Ok(b"other".to_vec()));
    writer.write_all(b"first").expect("room");
    assert_eq!(ended(&mut rig, &link, cell), Ok(b"first".to_vec()));
    writer.write_all(b"second").expect("room");
    let cell = begin(&mut rig, &link, (&pipe, 0), 3);
    assert_eq!(ended(&mut rig, &link, cell), Ok(b"sec".to_vec()));
    drop(writer);
    let cell = begin(&mut rig, &link, (&pipe, 0), 100);
    assert_eq!(ended(&mut rig, &link, cell), Ok(b"ond".to_vec()));
    let cell = begin(&mut rig, &link, (&pipe, 0), 100);
    assert_eq!(ended(&mut rig, &link, cell), Ok(Vec::new()), "nobody writes to it");
}

fn two_reads_of_one_pipe_can_be_cancelled_apart(mut rig: Rig<impl Io>) {
    let links = [rig.connect(), rig.connect()];
    let (pipe, mut writer) = std::io::pipe().expect("descriptors");
    let pipe = File::from(OwnedFd::from(pipe));
    let [first, second] = [0, 1].map(|place| begin(&mut rig, &links[place], (&pipe, 0), 100));
    rig.assert_quiet();
    rig.io.cancel(links[0].token(Op::ReadFile));
    let cancelled = ended(&mut rig, &links[0], first);
    assert!(matches!(cancelled, Err(libc::ECANCELED | libc::EINTR)), "{cancelled:?}");
    writer.write_all(b"for the other").expect("room");
    assert_eq!(ended(&mut rig, &links[1], second), Ok(b"for the other".to_vec()));
    rig.io.cancel(links[0].token(Op::ReadFile));
    rig.assert_quiet();
}

fn a_device_without_an_end_is_read(mut rig: Rig<impl Io>) {
    let link = rig.connect();
    let zeros = File::open("/dev/zero").expect("it is there");
    let cell = begin(&mut rig, &link, (&zeros, 5), 100);
    assert_eq!(ended(&mut rig, &link, cell), Ok(vec![0; 100]));
}

fn a_file_is_sent_as_far_as_there_is_room(mut rig: Rig<impl Io>) {
    let mut link = rig.connect();
    let bytes = pattern(8 << 20);
    let source = file(&bytes);
    let token = link.token(Op::SendFile);
    let mut sent = 0;
    let mut taken = Vec::new();
    while sent < bytes.len() {
        let (offset, len) = (sent as u64, u32::try_from(bytes.len() - sent).expect("few"));
        rig.io.send_file(link.server, token, FilePart { file: Arc::clone(&source), offset, len });
        let got = rig.one();
        assert!(got.token == token && !got.more && got.bytes.is_none());
        if let Ok(more) = usize::try_from(got.result) {
            sent += more;
            continue;
        }
        assert_eq!(got.result, -libc::EAGAIN);
        rig.io.await_room(link.server, link.token(Op::Room), false);
        let begin = taken.len();
        taken.resize(sent, 0);
        link.client.read_exact(&mut taken[begin..]).expect("sent");
        let got = rig.one();
        assert!(got.token == link.token(Op::Room) && got.result & i32::from(libc::POLLOUT) != 0, "{got:?}");
    }
    let begin = taken.len();
    taken.resize(sent, 0);
    link.client.read_exact(&mut taken[begin..]).expect("sent");
    assert!(taken == bytes, "every byte in its place");
    let part = FilePart { file: source, offset: bytes.len() as u64, len: 1 };
    rig.io.send_file(link.server, token, part);
    assert_eq!(rig.one().result, 0, "the file's end");
}

for_each_driver!(
    files_are_read_where_it_was_said,
    what_has_no_places_is_read_as_it_comes,
    two_reads_of_one_pipe_can_be_cancelled_apart,
    a_device_without_an_end_is_read,
    a_file_is_sent_as_far_as_there_is_room,
);
