//! Where the last holder of a file lets go of it, when that holder must not wait: freeing a file that was deleted
//! meanwhile takes its time.
//!
//! Invariants: a thread that drives a shard names who closes files for it; on all others, who lets go closes.
//!
//! Not here: the closing itself, and which files are closed at once (`ring::files`).

use core::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

type Closer = Box<dyn Fn(File)>;

thread_local! {
    static CLOSER: RefCell<Option<Closer>> = const { RefCell::new(None) };
}

/// While it lives, files that this thread lets go of last are given to its closer. Not `Send`.
pub(crate) struct ClosingElsewhere {
    outer: Option<Closer>,
    _of_this_thread: core::marker::PhantomData<*const ()>,
}

impl ClosingElsewhere {
    /// From now on `closer` gets the files.
    pub(crate) fn with(closer: Closer) -> Self {
        let outer = CLOSER.try_with(|place| place.replace(Some(closer)));
        Self { outer: outer.ok().flatten(), _of_this_thread: core::marker::PhantomData }
    }
}

impl Drop for ClosingElsewhere {
    fn drop(&mut self) {
        // A thread that ends may have no place for one any more.
        let inner = CLOSER.try_with(|place| place.replace(self.outer.take()));
        drop(inner);
    }
}

impl core::fmt::Debug for ClosingElsewhere {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ClosingElsewhere").finish_non_exhaustive()
    }
}

/// One holder of a file; the last one lets go of it as the module's head says.
#[derive(Clone, Debug)]
pub(crate) struct HeldFile(Option<Arc<File>>);

impl HeldFile {
    pub(crate) fn new(file: Arc<File>) -> Self {
        Self(Some(file))
    }

    /// The file itself, for a holder who may wait.
    pub(crate) fn share(&self) -> Arc<File> {
        Arc::clone(self.held())
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.held().as_raw_fd()
    }

    /// Whether what was read of it can be read again, from where it was: of regular files and block devices. Others
    /// give their bytes once, as pipes do, or have none that stay, as eventfds, which can be positioned all the same.
    pub(crate) fn can_read_again(&self) -> bool {
        let kind = self.held().metadata().map(|metadata| metadata.file_type());
        kind.is_ok_and(|kind| kind.is_file() || kind.is_block_device())
    }

    fn held(&self) -> &Arc<File> {
        self.0.as_ref().expect("it is held until it is dropped")
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        let Some(file) = self.0.take().and_then(Arc::into_inner) else { return };
        let mut left = Some(file);
        // A thread that ends may have no closer any more.
        let _ = CLOSER.try_with(|closer| {
            if let Some(closer) = &*closer.borrow()
                && let Some(file) = left.take()
            {
                closer(file);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn file() -> Arc<File> {
        Arc::new(File::open("/dev/null").expect("it is there"))
    }

    #[test]
    fn the_last_holder_gives_the_file_to_the_closer_of_its_thread() {
        let closed = Rc::new(RefCell::new(0));
        let count = Rc::clone(&closed);
        let elsewhere = ClosingElsewhere::with(Box::new(move |_| *count.borrow_mut() += 1));
        let (one, theirs) = (HeldFile::new(file()), file());
        let other = one.clone();
        drop(one);
        drop(HeldFile::new(Arc::clone(&theirs)));
        assert_eq!(*closed.borrow(), 0, "somebody else holds both");
        drop(other);
        assert_eq!(*closed.borrow(), 1);
        drop(elsewhere);
        drop(HeldFile::new(theirs));
        assert_eq!(*closed.borrow(), 1, "nobody closes for this thread any more");
    }

    #[test]
    fn what_gives_its_bytes_once_cannot_be_read_again() {
        let (reads, _writes) = std::io::pipe().expect("two descriptors");
        let pipe = HeldFile::new(Arc::new(File::from(std::os::fd::OwnedFd::from(reads))));
        let program = HeldFile::new(Arc::new(File::open("/proc/self/exe").expect("it is there")));
        assert_eq!([&pipe, &HeldFile::new(file()), &program].map(HeldFile::can_read_again), [false, false, true]);
    }
}
