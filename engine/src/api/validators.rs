//! What a representation is known by.
//!
//! Invariants: a tag made of a file's metadata is strong only when the file can no longer change unseen; a response
//! never states a Last-Modified in the future.
//!
//! Not here: what a request asks for, given that, and the responses made by it (`select`).
//!
//! Source: RFC 9110 section 8.8.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringress_proto::conditional;
use ringress_proto::etag::EntityTag;

use crate::clock;
use crate::error::{Error, Result};

/// How long a change of a file is past when another one is sure to be seen in its time: far longer than the grain of a
/// file system's clock.
const SETTLED: Duration = Duration::from_secs(1);

/// What the current representation of a resource is known by (RFC 9110 section 8.8): an entity tag, the time of its
/// last change, both or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    etag: Option<Box<str>>,
    /// Seconds since 1970.
    last_modified: Option<u64>,
}

impl Validators {
    /// Neither.
    #[must_use]
    pub const fn new() -> Self {
        Self { etag: None, last_modified: None }
    }

    /// Those of a file as its metadata is now: Last-Modified is the time of its last change, and the tag is made of
    /// that time and of its size.
    ///
    /// A file changed within the last second may change again without a trace in either, so its tag is weak: good for
    /// If-None-Match, but neither for If-Range nor If-Match (RFC 9110 section 8.8.1). A second later the same tag is
    /// strong. So ask for the metadata when the request is there, and of the [`File`](std::fs::File) that is sent, not
    /// of its path. A tool that changes a file and puts its old time and size back goes unseen.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        let is_settled = Duration::new(seconds, nanoseconds).saturating_add(SETTLED) <= clock::wall();
        let weakness = if is_settled { "" } else { "W/" };
        let etag = format!("{weakness}\"{seconds:x}.{nanoseconds:x}-{:x}\"", metadata.size());
        Self { etag: Some(etag.into()), last_modified: Some(seconds) }
    }

    /// With an entity tag as it stands in the ETag field, quotes included: `"a"`, or `W/"a"` if it is weak.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is not one.
    pub fn with_etag(mut self, tag: &str) -> Result<Self> {
        if EntityTag::parse(tag.as_bytes()).is_none() {
            let text = format!("{tag:?} is not an entity tag: write it in quotes, as \"a\" or W/\"a\", without spaces");
            return Err(Error::invalid(text));
        }
        self.etag = Some(tag.into());
        Ok(self)
    }

    /// With the time of the last change, in full seconds; a time before 1970 counts as its first second.
    #[must_use]
    pub fn with_last_modified(mut self, time: SystemTime) -> Self {
        self.last_modified = Some(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        self
    }

    /// The entity tag, quotes included.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// The value for a Last-Modified field, in seconds since 1970: the time of the last change, or now if that is to
    /// come (RFC 9110 section 8.8.2.1).
    #[must_use]
    pub fn last_modified(&self) -> Option<u64> {
        self.last_modified.map(|time| time.min(clock::wall().as_secs()))
    }

    pub(super) fn of_proto(&self) -> conditional::Validators<'_> {
        conditional::Validators { etag: self.etag().map(str::as_bytes), last_modified: self.last_modified }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_tag_is_refused_by_its_text() {
        for tag in ["a", "", "\"a", "w/\"a\"", "\"a b\"", "*", "\"a\", \"b\""] {
            let error = Validators::new().with_etag(tag).expect_err(tag);
            assert!(error.to_string().contains(&format!("{tag:?}")), "{error}");
        }
        assert_eq!(Validators::new().with_etag("W/\"a\"").expect("a tag").etag(), Some("W/\"a\""));
    }

    #[test]
    fn a_change_in_the_future_is_stated_as_now() {
        let now = clock::wall().as_secs();
        let future = Validators::new().with_last_modified(UNIX_EPOCH + Duration::from_secs(now + 1000));
        assert!(future.last_modified().is_some_and(|time| (now..now + 500).contains(&time)));
        let past = Validators::new().with_last_modified(UNIX_EPOCH + Duration::from_millis(1_999));
        assert_eq!(past.last_modified(), Some(1));
        assert_eq!(Validators::new().with_last_modified(UNIX_EPOCH - Duration::from_secs(5)).last_modified(), Some(0));
    }

    #[test]
    fn a_file_has_a_weak_tag_until_its_change_is_a_second_ago() {
        let path = std::env::temp_dir().join(format!("ringress-validators-{}", std::process::id()));
        let file = std::fs::File::create_new(&path).expect("a new file");
        std::fs::remove_file(&path).expect("just made");
        let tag_at = |time: Duration, len: u64| {
            file.set_len(len).expect("room");
            file.set_modified(UNIX_EPOCH + time).expect("own file");
            let validators = Validators::of(&file.metadata().expect("open"));
            validators.etag().expect("a tag").to_owned()
        };
        let now = clock::wall();
        let old = tag_at(Duration::new(1_700_000_000, 5), 16);
        assert_eq!(old, "\"6553f100.5-10\"");
        assert_ne!(old, tag_at(Duration::new(1_700_000_000, 6), 16), "the time differs");
        assert_ne!(old, tag_at(Duration::new(1_700_000_000, 5), 17), "the size differs");
        assert!(tag_at(now + Duration::from_secs(60), 16).starts_with("W/\""), "it may still change in that time");
        assert!(tag_at(now - Duration::from_secs(2), 16).starts_with('"'));
    }
}
