//! Bytes that live as long as the process, each content once, so that the kernel may read them at any time.
//!
//! A tool that runs the same load many times asks for the same bytes many times, and so does not grow.

use std::collections::HashSet;
use std::net::SocketAddr;
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
    fn addresses_have_the_sizes_the_kernel_knows() {
        let v4 = socket_address("127.0.0.1:8090".parse().expect("valid"));
        assert_eq!((v4.len(), &v4[2..8]), (16, &[0x1f, 0x9a, 127, 0, 0, 1][..]));
        let v6 = socket_address("[::1]:80".parse().expect("valid"));
        assert_eq!((v6.len(), &v6[2..4], v6[23]), (28, &[0, 80][..], 1));
    }
}
