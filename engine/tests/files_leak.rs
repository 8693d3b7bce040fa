//! What long files leave behind: nothing. One test, since it looks at the whole process.

mod common;

use std::fs;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use common::peer::{Peer, file_of};
use common::{Client, Host, wait_until};
use ringress::{FileRange, Response};

const LEN: usize = 16 << 20;

/// Threads of this process that send files.
fn helpers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("it is there").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("ringress-file")).count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("it is there").count()
}

/// Whether the file with this number is still held by anybody.
fn is_open(number: i32, name: &std::path::Path) -> bool {
    fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|link| link == name)
}

#[test]
fn no_thread_descriptor_or_deleted_file_is_left() {
    let before = descriptors();
    for _ in 0..2 {
        let host = Host::start();
        assert_eq!(helpers(), 0, "none before the first file");
        for (len, reads) in [(LEN, true), (LEN, false), (1000, true)] {
            let file = Arc::new(file_of(len));
            let number = file.as_raw_fd();
            let name = fs::read_link(format!("/proc/self/fd/{number}")).expect("it is open");
            let mut peers: Vec<Peer> = (0..8).map(|_| Peer::get(host.address)).collect();
            for _ in &peers {
                let body = FileRange::new(Arc::clone(&file), 0..len as u64);
                host.receive().respond(Response::ok().body(body)).expect("open");
            }
            drop(file);
            for mut peer in peers.drain(..) {
                if reads {
                    peer.head();
                    peer.take(len);
                } else {
                    Client::over(peer.stream).reset();
                }
            }
            host.await_rest();
            wait_until("the file is closed", || !is_open(number, &name));
            assert_eq!(helpers(), 1, "one a shard");
        }
        drop(host);
        wait_until("the helper has ended", || helpers() == 0);
    }
    // The bell of a shard is kept for the next one.
    wait_until("all is closed", || descriptors() <= before + 1);
}
