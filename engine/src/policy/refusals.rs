//! What clients of a URL group are sent in the place of the engine's own refusals, by status.
//!
//! Invariants: what is here can be sent as it is: statuses that the engine refuses with, content types that are field
//! values, bodies that are shared without being copied.
//!
//! Not here: which request is refused, with what status, and how that is sent (`shard`).

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};

/// Bytes of a page.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a content type: beside all else that a refusal's head has, so many fit the smallest response area.
const CONTENT_TYPE_BYTES_MAX: usize = 128;
/// Statuses that the engine refuses a request with once its group is known, and 500 for one that was dropped.
const STATUSES: [u16; 8] = [400, 408, 413, 417, 431, 500, 501, 503];

/// What the clients of a [`UrlGroup`](crate::UrlGroup) are sent when the engine answers in the application's place: a
/// content type and a body for each status; see [`UrlGroup::set_refusals`](crate::UrlGroup::set_refusals). What has no
/// page here is refused with the engine's own text, and 503 as the queue's [`Verbosity`](crate::Verbosity) says.
///
/// ```
/// # fn main() -> ringress::Result<()> {
/// let refusals = ringress::Refusals::new()
///     .page(503, "text/html; charset=utf-8", "<!doctype html><title>Busy</title><p>Come back in a minute.")?
///     .page(413, "application/problem+json", r#"{"title":"That is too much."}"#)?;
/// # drop(refusals);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals(Arc<Vec<Page>>);

/// What is sent with one status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    status: u16,
    pub(crate) content_type: Bytes,
    pub(crate) body: Bytes,
}

impl Refusals {
    /// No page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this page, in the place of an earlier one of this status: 400 (a malformed body), 408, 413, 417, 431
    /// (trailers), 500 (the application dropped the request), 501 (CONNECT) or 503. The body, of up to 1 MiB, is copied
    /// once, here.
    ///
    /// Heads that cannot be read or that no URL fits belong to no group, and the fixed text that is sent where memory
    /// is short, after which the connection ends, is the same for all.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for another status, a content type that is empty, longer than 128 bytes
    /// or not of visible ASCII characters and spaces, and for a longer body.
    pub fn page(mut self, status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Result<Self> {
        let body = body.as_ref();
        if !STATUSES.contains(&status) {
            return Err(Error::invalid(format!(
                "refusals: the engine refuses no request of a group with status {status}, but with one of {STATUSES:?}"
            )));
        }
        let is_sendable = content_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) && content_type.trim() != "";
        if !is_sendable || content_type.len() > CONTENT_TYPE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "refusals: the content type {content_type:?} of status {status} is to be 1 to {CONTENT_TYPE_BYTES_MAX} \
                 visible characters of ASCII"
            )));
        }
        if body.len() > BODY_BYTES_MAX {
            return Err(Error::invalid(format!(
                "refusals: the body of status {status} has {} bytes, and at most {BODY_BYTES_MAX} are sent in a \
                 refusal; serve what is longer yourself, and link to it",
                body.len()
            )));
        }
        let page = Page {
            status,
            content_type: Bytes::copy_from_slice(content_type.as_bytes()),
            body: Bytes::copy_from_slice(body),
        };
        // The first clone allocates what all share: here, not on a shard.
        drop(page.clone());
        let pages = Arc::make_mut(&mut self.0);
        pages.retain(|page| page.status != status);
        pages.push(page);
        Ok(self)
    }

    /// The statuses that have a page, in ascending order.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        let mut statuses: Vec<u16> = self.0.iter().map(|page| page.status).collect();
        statuses.sort_unstable();
        statuses
    }

    /// What is sent with a status.
    pub(crate) fn of(&self, status: u16) -> Option<&Page> {
        self.0.iter().find(|page| page.status == status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_replaces_the_one_before_and_leaves_others_alone() {
        let first = Refusals::new().page(503, "text/html", "one").expect("valid");
        let both = first.clone().page(413, "text/plain", "much").expect("valid");
        let second = both.clone().page(503, "text/html", "two").expect("valid");
        let body = |refusals: &Refusals, status| refusals.of(status).map(|page| page.body.clone());
        assert_eq!((body(&first, 503), body(&first, 413)), (Some("one".into()), None));
        assert_eq!((body(&second, 503), body(&second, 413)), (Some("two".into()), Some("much".into())));
        assert_eq!((second.statuses(), Refusals::new().statuses()), (vec![413, 503], vec![]));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_the_text_says_why() {
        let long = "x".repeat(CONTENT_TYPE_BYTES_MAX + 1);
        for (status, content_type, body_len, named) in [
            (404, "text/html", 0, "404"),
            (200, "text/html", 0, "503"),
            (503, "", 0, "content type"),
            (503, "text/html\r\nX: y", 0, "content type"),
            (503, "text/ht\u{e4}", 0, "content type"),
            (503, long.as_str(), 0, "128"),
            (503, "text/html", BODY_BYTES_MAX + 1, "1048577"),
        ] {
            let error = Refusals::new().page(status, content_type, vec![0; body_len]).expect_err(named);
            assert_eq!(error.kind(), crate::ErrorKind::Invalid);
            assert!(error.to_string().contains(named), "{error}");
        }
        Refusals::new().page(503, "text/html", vec![0; BODY_BYTES_MAX]).expect("just so");
    }
}
