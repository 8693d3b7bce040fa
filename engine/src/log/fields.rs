//! Fields of a log line, of which a log has some: the masks, and what each is called.
//!
//! Invariants: the order of a line's fields is that of the table here, whatever the order in which they were asked for.
//!
//! Not here: what stands in them (`text`, `json`).

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// Which fields a log in the formats [`W3c`](crate::LogFormat::W3c) and [`Json`](crate::LogFormat::Json) has: sets that
/// are joined by `|`, as the masks of the HTTP Server API's `HTTP_LOGGING_INFO`.
///
/// ```
/// use ringress::LogFields;
///
/// let fields = LogFields::DEFAULT | LogFields::BYTES_SENT | LogFields::BYTES_RECEIVED;
/// assert!(fields.contains(LogFields::STATUS) && !fields.contains(LogFields::COOKIE));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogFields(u32);

/// One field.
pub(super) struct Column {
    pub(super) field: LogFields,
    /// In the `#Fields` of W3C extended.
    pub(super) w3c: &'static str,
    /// In JSON lines.
    pub(super) json: &'static str,
}

macro_rules! columns {
    ($($(#[doc = $doc:literal])+ $name:ident = $bit:literal, $w3c:literal, $json:literal;)+) => {
        impl LogFields {
            $($(#[doc = $doc])+ pub const $name: Self = Self(1 << $bit);)+
            /// All there are.
            pub const ALL: Self = Self(0 $(| 1 << $bit)+);
        }

        /// In the order of a line.
        pub(super) const COLUMNS: &[Column] = &[
            $(Column { field: LogFields::$name, w3c: $w3c, json: $json },)+
        ];
    };
}

columns! {
    /// `date`: the day on which the request ended, in UTC. In JSON `time` has it.
    DATE = 0, "date", "";
    /// `time`: when the request ended, in UTC; in JSON day and time to the millisecond.
    TIME = 1, "time", "time";
    /// `s-sitename`: see [`Logging::site_name`](crate::Logging::site_name).
    SITE_NAME = 4, "s-sitename", "site";
    /// `s-computername`: see [`Logging::computer_name`](crate::Logging::computer_name).
    COMPUTER_NAME = 5, "s-computername", "computer";
    /// `s-ip`: the address of this host that the connection came in on.
    SERVER_IP = 6, "s-ip", "server_ip";
    /// `cs-method`: the method.
    METHOD = 7, "cs-method", "method";
    /// `cs-uri-stem`: the target as sent, without its query.
    URI_STEM = 8, "cs-uri-stem", "uri_stem";
    /// `cs-uri-query`: the query as sent, without its `?`.
    URI_QUERY = 9, "cs-uri-query", "uri_query";
    /// `s-port`: the port that the connection came in on.
    SERVER_PORT = 15, "s-port", "server_port";
    /// `cs-username`: who has asked, if the response says so: see [`LogData`](crate::LogData).
    USER_NAME = 3, "cs-username", "user";
    /// `c-ip`: the client's address.
    CLIENT_IP = 2, "c-ip", "client_ip";
    /// `c-port`: the client's port.
    CLIENT_PORT = 22, "c-port", "client_port";
    /// `cs-version`: the version of the protocol.
    VERSION = 19, "cs-version", "version";
    /// `cs(User-Agent)`: the field of this name.
    USER_AGENT = 16, "cs(User-Agent)", "user_agent";
    /// `cs(Cookie)`: the first field of this name.
    COOKIE = 17, "cs(Cookie)", "cookie";
    /// `cs(Referer)`: the field of this name.
    REFERER = 18, "cs(Referer)", "referer";
    /// `cs-host`: the field Host.
    HOST = 20, "cs-host", "host";
    /// `sc-status`: the response's status.
    STATUS = 10, "sc-status", "status";
    /// `sc-substatus`: what the response says beside it: see [`LogData`](crate::LogData).
    SUBSTATUS = 21, "sc-substatus", "substatus";
    /// `sc-win32-status`: the same.
    WIN32_STATUS = 11, "sc-win32-status", "win32_status";
    /// `sc-bytes`: bytes of the response that the socket has taken.
    BYTES_SENT = 12, "sc-bytes", "bytes_sent";
    /// `cs-bytes`: bytes received of the request.
    BYTES_RECEIVED = 13, "cs-bytes", "bytes_received";
    /// `time-taken`: milliseconds from the request's first byte until the response was handed to the socket; in JSON
    /// microseconds (`micros`).
    TIME_TAKEN = 14, "time-taken", "micros";
}

impl LogFields {
    /// Those that are there unless others are asked for: date, time, server address, method, target and query, server
    /// port, user name, client address, User-Agent, Referer, status, substatus, win32 status and the time taken.
    pub const DEFAULT: Self = Self(
        Self::DATE.0
            | Self::TIME.0
            | Self::SERVER_IP.0
            | Self::METHOD.0
            | Self::URI_STEM.0
            | Self::URI_QUERY.0
            | Self::SERVER_PORT.0
            | Self::USER_NAME.0
            | Self::CLIENT_IP.0
            | Self::USER_AGENT.0
            | Self::REFERER.0
            | Self::STATUS.0
            | Self::SUBSTATUS.0
            | Self::WIN32_STATUS.0
            | Self::TIME_TAKEN.0,
    );

    /// Whether it has all fields of `other`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The columns of these fields, in the order of a line.
    pub(super) fn columns(self) -> impl Iterator<Item = &'static Column> {
        COLUMNS.iter().filter(move |column| self.contains(column.field))
    }
}

impl Default for LogFields {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl BitOr for LogFields {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for LogFields {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for LogFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.columns().map(|column| column.w3c)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_a_bit_of_its_own() {
        let sum: u32 = COLUMNS.iter().map(|column| column.field.0).sum();
        assert_eq!(sum, LogFields::ALL.0);
        assert!(COLUMNS.iter().all(|column| column.field.0.count_ones() == 1));
        assert!(LogFields::ALL.contains(LogFields::DEFAULT));
    }

    #[test]
    fn lines_have_the_order_of_the_table() {
        let names: Vec<_> = (LogFields::STATUS | LogFields::DATE | LogFields::HOST).columns().map(|c| c.w3c).collect();
        assert_eq!(names, ["date", "cs-host", "sc-status"]);
        assert_eq!(format!("{:?}", LogFields::DATE | LogFields::TIME), r#"{"date", "time"}"#);
    }
}
