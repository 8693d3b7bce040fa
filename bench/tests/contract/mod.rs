//! What the tests of the kernel's contract begin with: a ring as the engine makes it, and both ends of a connection.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use io_uring::IoUring;

/// How long a blocking read may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// `None`: such rings cannot be had here, which is said.
pub(crate) fn ring() -> Option<IoUring> {
    let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_submit_all().build(8);
    match ring {
        Ok(ring) => Some(ring),
        Err(error) => {
            eprintln!("skipped: no ring with deferred task work here: {error}");
            None
        }
    }
}

/// This side, and the other one.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let (far, _) = listener.accept().expect("loopback");
    near.set_read_timeout(Some(PATIENCE)).expect("not zero");
    (near, far)
}
