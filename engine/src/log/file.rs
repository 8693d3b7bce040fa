//! One log on disk: its newest file, and when another one begins.
//!
//! Invariants: a file has whole lines, but for a moment while one is written: what a disk has taken of a line only in
//! part is cut off again. A line is in a file of its period, or a later one, and no file is larger than its rollover
//! says. Whatever fails is tried again with the next lines.
//!
//! Not here: who waits for the disk (`writer`), names (`names`), and lines (`line`).

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::calendar::Moment;
use super::line;
use super::names::Names;
use super::settings::{Logging, Rollover};

/// Of what a file begins with: less than the least size of a file.
const HEADER_BYTES_MAX: u64 = 1024;

/// See the module's head.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) logging: Logging,
    names: Names,
    open: Option<Open>,
    /// The period of what is in `pending`, or was written last.
    period: Option<Moment>,
    /// No file of a lesser number is gone on with: it was rotated.
    number_min: u64,
    /// Lines that are not written yet, and how many those are.
    pending: Vec<u8>,
    lines: u64,
}

/// A file that is written to.
#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    number: u64,
    identity: (u64, u64),
    bytes: u64,
}

/// What has become of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) lines: u64,
    pub(super) lost: u64,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl LogFile {
    /// Of a log that has no file yet: the first line opens it.
    pub(super) fn new(logging: Logging) -> Self {
        let names = Names::of(logging.format, logging.rollover);
        Self { logging, names, open: None, period: None, number_min: 1, pending: Vec::new(), lines: 0 }
    }

    /// Adds a line that `put` writes; gives what has become of others, if another file begins with it.
    pub(super) fn add(&mut self, at: Moment, put: impl FnOnce(&Logging, &mut Vec<u8>)) -> (Written, io::Result<()>) {
        let mut result = (Written::default(), Ok(()));
        let before = self.pending.len();
        put(&self.logging, &mut self.pending);
        self.lines += 1;
        let is_of_next = match self.period {
            // Lines come by shards, so not quite in the order of their times.
            Some(period) => at > period && !self.names.is_same(period, at),
            None => false,
        };
        if is_of_next || self.bytes() > self.bytes_max() {
            let line = self.pending.split_off(before);
            self.lines -= 1;
            result = self.flush();
            if is_of_next {
                self.number_min = 1;
            } else if let Some(open) = &self.open {
                self.number_min = open.number + 1;
            }
            self.open = None;
            (self.pending, self.lines) = (line, 1);
        }
        self.period = Some(self.period.map_or(at, |period| period.max(at)));
        result
    }

    /// Bytes of the newest file, with what is still to be written.
    fn bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.bytes) + self.pending.len() as u64
    }

    /// What a file may have, but for what it begins with.
    fn bytes_max(&self) -> u64 {
        match self.logging.rollover {
            Rollover::Size(bytes) => bytes - HEADER_BYTES_MAX,
            _ => u64::MAX,
        }
    }

    /// Writes what is to be written. What fails is lost.
    pub(super) fn flush(&mut self) -> (Written, io::Result<()>) {
        if self.lines == 0 {
            return (Written::default(), Ok(()));
        }
        let lines = core::mem::take(&mut self.lines);
        let result = self.write();
        self.pending.clear();
        match result {
            Ok(()) => (Written { lines, lost: 0 }, Ok(())),
            Err((error, kept)) => {
                // What is opened next begins anew, wherever it is.
                self.open = None;
                (Written { lines: kept, lost: lines.saturating_sub(kept) }, Err(error))
            }
        }
    }

    /// Writes all that is pending; or says how many lines of that are on disk.
    fn write(&mut self) -> Result<(), (io::Error, u64)> {
        self.leave_removed();
        let mut header_len = 0;
        if self.open.is_none() {
            let mut header = Vec::new();
            let at = self.period.unwrap_or_else(|| Moment::of_micros(0));
            line::put_header(&self.logging, at, &mut header);
            header_len = header.len();
            self.open = Some(self.begin(at, header_len).map_err(|error| (error, 0))?);
            self.pending.splice(..0, header);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut written = 0;
        while written < self.pending.len() {
            let error = match open.file.write(&self.pending[written..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let whole = open.cut(&self.pending[..written]);
            let kept = self.pending.get(header_len..whole).unwrap_or_default();
            return Err((error, kept.iter().filter(|byte| **byte == b'\n').count() as u64));
        }
        open.bytes += written as u64;
        Ok(())
    }

    /// A file that has been moved or removed, as by logrotate(8), is left.
    fn leave_removed(&mut self) {
        let Some(open) = &mut self.open else { return };
        match fs::metadata(&open.path) {
            // Somebody may have cut it short.
            Ok(metadata) if identity(&metadata) == open.identity => open.bytes = metadata.len(),
            _ => self.open = None,
        }
    }

    /// Opens the file that is gone on with, or a new one.
    fn begin(&self, at: Moment, header_len: usize) -> io::Result<Open> {
        let directory = &self.logging.directory;
        // It may be gone; where it cannot be made, the file says why.
        let _ = fs::create_dir_all(directory);
        let stem = self.names.stem(at);
        let newest = fs::read_dir(directory)?
            .filter_map(|entry| self.names.number(&stem, entry.ok()?.file_name().to_str()?))
            .max()
            .unwrap_or(1)
            .max(self.number_min);
        let opened = self.open_file(&stem, newest)?;
        let wanted = opened.bytes + (header_len + self.pending.len()) as u64;
        let is_full = opened.bytes > 0 && wanted > self.bytes_max();
        if is_full { self.open_file(&stem, newest + 1) } else { Ok(opened) }
    }

    fn open_file(&self, stem: &str, number: u64) -> io::Result<Open> {
        let path = self.logging.directory.join(self.names.file(stem, number));
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let metadata = file.metadata()?;
        Ok(Open { file, path, number, identity: identity(&metadata), bytes: metadata.len() })
    }

    /// The next line goes into a new file: of the next number, or of the same name, if that is free by now.
    pub(super) fn rotate(&mut self) -> (Written, io::Result<()>) {
        let result = self.flush();
        self.leave_removed();
        if let Some(open) = self.open.take() {
            self.number_min = open.number + 1;
        }
        result
    }

    /// Nothing more is expected.
    pub(super) fn close(&mut self) -> (Written, io::Result<()>) {
        let result = self.flush();
        self.open = None;
        result
    }
}

impl Open {
    /// Cuts off the line of which the disk has taken a part, of what it has taken. Gives how many bytes are left of
    /// that.
    fn cut(&mut self, written: &[u8]) -> usize {
        let whole = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // What is no file has nothing to be cut.
        let _ = self.file.set_len(self.bytes + whole as u64);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::LogFormat;
    use super::*;
    use std::os::unix::fs::symlink;

    const START_MICROS: u64 = 1_796_068_200_000_000;

    /// So many hours after Mon Nov 30 19:50:00 UTC 2026.
    fn hour(hours: u64) -> Moment {
        Moment::of_micros(START_MICROS + hours * 3_600_000_000)
    }

    fn log(directory: &tempfile::TempDir, rollover: Rollover) -> LogFile {
        LogFile::new(Logging::new(LogFormat::Json, directory.path()).rollover(rollover))
    }

    fn add(log: &mut LogFile, at: Moment, text: &str) -> (Written, io::Result<()>) {
        log.add(at, |_, line| line.extend_from_slice(format!("{text}\n").as_bytes()))
    }

    #[track_caller]
    fn write(log: &mut LogFile, at: Moment, text: &str) {
        let (written, result) = add(log, at, text);
        result.expect("the disk takes it");
        assert_eq!(written.lost, 0);
        let (written, result) = log.flush();
        result.expect("the disk takes it");
        assert_eq!(written, Written { lines: 1, lost: 0 });
    }

    fn files(directory: &tempfile::TempDir) -> Vec<(String, String)> {
        let entries = fs::read_dir(directory.path()).expect("it is there").map(|entry| entry.expect("it is there"));
        let read = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path()).expect("text");
            (entry.file_name().into_string().expect("a name"), text)
        };
        let mut files: Vec<_> = entries.map(read).collect();
        files.sort();
        files
    }

    fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn another_file_begins_with_each_period() {
        for (rollover, hours, names) in [
            (Rollover::Hourly, [0, 0, 1], ["js26113019.log", "js26113020.log"]),
            (Rollover::Daily, [0, 4, 5], ["js261130.log", "js261201.log"]),
            (Rollover::Weekly, [0, 4, 5], ["js261105.log", "js261201.log"]),
            (Rollover::Monthly, [0, 4, 5], ["js2611.log", "js2612.log"]),
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut log = log(&directory, rollover);
            for (hours, text) in hours.into_iter().zip(["a", "b", "c"]) {
                assert!(add(&mut log, hour(hours), text).1.is_ok());
            }
            // What comes late is in the newest.
            assert!(add(&mut log, hour(0), "late").1.is_ok());
            assert!(log.flush().1.is_ok());
            assert_eq!(files(&directory), named(&[(names[0], "a\nb\n"), (names[1], "c\nlate\n")]), "{rollover:?}");
        }
    }

    #[test]
    fn a_file_has_no_more_bytes_than_its_rollover_says_and_is_gone_on_with() {
        let directory = tempfile::tempdir().expect("a directory");
        let line = "x".repeat(200_000);
        for round in 0..2 {
            let mut log = log(&directory, Rollover::Size(1 << 20));
            for _ in 0..8 {
                write(&mut log, hour(round), &line);
            }
        }
        let sizes: Vec<_> = files(&directory).into_iter().map(|(name, text)| (name, text.len() / 200_001)).collect();
        let expected = [("json1.log", 5), ("json2.log", 5), ("json3.log", 5), ("json4.log", 1)];
        assert_eq!(sizes, expected.map(|(name, lines)| (name.to_owned(), lines)));
    }

    #[test]
    fn many_lines_at_once_are_parted_as_well() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut log = log(&directory, Rollover::Size(1 << 20));
        let line = "x".repeat(300_000);
        let mut written = 0;
        for _ in 0..8 {
            written += add(&mut log, hour(0), &line).0.lines;
        }
        assert_eq!(written + log.flush().0.lines, 8);
        assert!(files(&directory).iter().all(|(_, text)| text.len() <= 1 << 20 && text.ends_with('\n')));
        assert_eq!(files(&directory).len(), 3);
    }

    #[test]
    fn rotated_it_goes_on_in_a_new_file() {
        for (rollover, names) in [
            (Rollover::Daily, ["js261130.2.log", "js261130.3.log", "js261130.log"]),
            (Rollover::Size(1 << 20), ["json1.log", "json2.log", "json3.log"]),
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut log = log(&directory, rollover);
            for text in ["a", "b", "c"] {
                write(&mut log, hour(0), text);
                assert!(log.rotate().1.is_ok());
            }
            let mut names = names;
            if matches!(rollover, Rollover::Daily) {
                names.rotate_right(1);
            }
            let mut expected = named(&[(names[0], "a\n"), (names[1], "b\n"), (names[2], "c\n")]);
            expected.sort();
            assert_eq!(files(&directory), expected);
        }
    }

    #[test]
    fn moved_away_its_name_is_that_of_the_new_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut log = log(&directory, Rollover::Daily);
        write(&mut log, hour(0), "a");
        let path = |name: &str| directory.path().join(name);
        fs::rename(path("js261130.log"), path("old")).expect("it is there");
        assert!(log.rotate().1.is_ok());
        write(&mut log, hour(0), "b");
        assert_eq!(files(&directory), named(&[("js261130.log", "b\n"), ("old", "a\n")]));
        // Also without being told.
        fs::remove_file(path("js261130.log")).expect("it is there");
        write(&mut log, hour(0), "c");
        fs::remove_dir_all(directory.path()).expect("it is there");
        write(&mut log, hour(0), "d");
        assert_eq!(files(&directory), named(&[("js261130.log", "d\n")]));
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_the_next_lines_are_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut log = log(&directory, Rollover::Daily);
        let path = directory.path().join("js261130.log");
        symlink("/dev/full", &path).expect("a link");
        for _ in 0..2 {
            assert!(add(&mut log, hour(0), "a").1.is_ok() && add(&mut log, hour(0), "b").1.is_ok());
            let (written, result) = log.flush();
            assert_eq!(written, Written { lines: 0, lost: 2 });
            assert_eq!(result.expect_err("it is full").kind(), io::ErrorKind::StorageFull);
        }
        fs::remove_file(&path).expect("it is there");
        write(&mut log, hour(0), "c");
        assert_eq!(files(&directory), named(&[("js261130.log", "c\n")]));
    }

    #[test]
    fn a_file_of_w3c_begins_anew_with_its_fields() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut log = LogFile::new(Logging::new(LogFormat::W3c, directory.path()));
        for text in ["a", "b"] {
            write(&mut log, hour(0), text);
            write(&mut log, hour(0), text);
            assert!(log.rotate().1.is_ok());
        }
        for (_, text) in files(&directory) {
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines[..4].iter().all(|line| line.starts_with('#')) && lines.len() == 6, "{text}");
            assert_eq!(lines[2], "#Date: 2026-11-30 19:50:00");
        }
    }

    /// A line of which only a part fits is not left so.
    #[test]
    fn a_line_is_whole_or_not_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let file = OpenOptions::new().append(true).create(true).open(&path).expect("a file");
        let identity = identity(&file.metadata().expect("it is open"));
        let mut open = Open { file, path: path.clone(), number: 1, identity, bytes: 0 };
        open.file.write_all(b"one\n").expect("the disk takes it");
        open.bytes = 4;
        open.file.write_all(b"two\nthr").expect("the disk takes it");
        assert_eq!(open.cut(b"two\nthr"), 4);
        assert_eq!(fs::read_to_string(&path).expect("text"), "one\ntwo\n");
    }
}
