//! What a response says for the log alone.
//!
//! Invariants: a response without it pays nothing for it; it is told to the shard before the response, so that the line
//! has it.
//!
//! Not here: which requests are logged, and how (room `log`).

use std::borrow::Cow;

use crate::queue::LogText;

/// What an application gives with a response for its line in the log
/// ([`Response::log_data`](crate::Response::log_data)): what the engine cannot know. As the HTTP Server API's
/// `HTTP_LOG_FIELDS_DATA`; all else the engine fills in itself.
///
/// ```
/// use ringress::{LogData, Response};
///
/// let response = Response::new(403).log_data(LogData::new().user_name("eve").substatus(2));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogData<'a> {
    user_name: Cow<'a, str>,
    substatus: u16,
    win32_status: u32,
}

impl<'a> LogData<'a> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { user_name: Cow::Borrowed(""), substatus: 0, win32_status: 0 }
    }

    /// Who has asked, as the application knows: `cs-username`. Of a longer name, the first 255 bytes are logged.
    #[must_use]
    pub fn user_name(mut self, name: impl Into<Cow<'a, str>>) -> Self {
        self.user_name = name.into();
        self
    }

    /// What the status leaves open: `sc-substatus`; 0 unless it is said.
    #[must_use]
    pub const fn substatus(mut self, substatus: u16) -> Self {
        self.substatus = substatus;
        self
    }

    /// A number of the application's own: `sc-win32-status`; 0 unless it is said.
    #[must_use]
    pub const fn win32_status(mut self, status: u32) -> Self {
        self.win32_status = status;
        self
    }

    pub(super) fn to_text(&self) -> LogText {
        let (substatus, win32_status) = (self.substatus, self.win32_status);
        LogText { user: self.user_name.as_bytes().into(), substatus, win32_status }
    }
}
