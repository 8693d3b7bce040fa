//! What applications set of timers and limits: each property optional, with its name, range and default.
//!
//! Invariants: a property that is not set is inherited; a value out of range is an error that names the property, the
//! value, the range and an example, and leaves everything as it was.
//!
//! Not here: how values are written (`text`).

use std::time::Duration;

use super::text::{Value, same_name};
use crate::error::{Error, ErrorKind, Result};

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;
const SHORTEST: Duration = Duration::from_millis(64);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
const USUAL: Duration = Duration::from_secs(120);

macro_rules! properties {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $lowest:expr, $highest:expr;)+) => {
        /// Timers and limits, under the names of the HTTP Server API where it has them.
        ///
        /// A property that is not set is inherited: a URL group's from its session, a session's from the engine, the
        /// engine's from the defaults. Setting properties replaces all that were set there before, so what is not
        /// among them goes back to being inherited. A change holds for every request sent after it; a connection's
        /// deadline that runs already stays, and its next one follows. A connection goes by the properties of the
        /// group of its last routed request; before its first, by the engine's.
        ///
        /// Times are from 64 ms to 365 days, in steps of 64 ms: never early, and less than 128 ms late; but for
        /// [`keep_alive`](Self#structfield.keep_alive), the kernel's.
        /// [`Properties::OFF`] switches a timer off.
        ///
        /// ```
        /// use std::time::Duration;
        /// use ringress::Properties;
        ///
        /// let mut properties = Properties::new().idle_connection(Duration::from_secs(5)).send_rate_min(0);
        /// properties.set("EntityBody", "500ms")?;
        /// assert_eq!(properties.entity_body, Some(Duration::from_millis(500)));
        /// # Ok::<(), ringress::Error>(())
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Properties {
            $($(#[doc = $doc])+ pub $name: Option<$type>,)+
        }

        impl Properties {
            /// What holds where nobody has set anything.
            pub(crate) const DEFAULTS: Self = Self { $($name: Some($default),)+ };

            /// The names of all properties.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)+];

            /// Nothing set: all is inherited.
            #[must_use]
            pub const fn new() -> Self {
                Self { $($name: None,)+ }
            }

            $(
                #[doc = concat!("With another [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
                #[must_use]
                pub const fn $name(mut self, value: $type) -> Self {
                    self.$name = Some(value);
                    self
                }
            )+

            /// What holds when these are set over others that are inherited.
            pub(crate) fn over(&self, inherited: &Self) -> Self {
                Self { $($name: self.$name.or(inherited.$name),)+ }
            }

            /// Sets a property by its name, without regard to case, `_` and `-`: for command lines and configuration
            /// files. Times are written as `500ms`, `2s`, `5m`, `1h`, sizes and rates as `4096`, `64KiB` or `1MiB`;
            /// `off` switches a timer, the least rate or the limit of a body off.
            ///
            /// # Errors
            /// [`NotFound`](crate::ErrorKind::NotFound) for a name that is none (the text lists those there are),
            /// [`Invalid`](crate::ErrorKind::Invalid) for
            /// a value that cannot be read or is out of range.
            pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
                $(
                    if same_name(name, stringify!($name)) {
                        let read = <$type>::read(value).filter(|read| read.is_within($lowest, $highest));
                        let wanted = || <$type>::refused(stringify!($name), value, $lowest, $highest);
                        self.$name = Some(read.ok_or_else(wanted)?);
                        return Ok(());
                    }
                )+
                let known = Self::NAMES.join(", ");
                Err(Error::new(ErrorKind::NotFound, format!("there is no property {name:?}; there are {known}")))
            }

            /// All of them with their names, each as [`set`](Self::set) takes it where it is set: for logs and lists.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, Option<String>)> + use<> {
                [$((stringify!($name), self.$name.map(Value::show)),)+].into_iter()
            }

            /// Checks every value that is set.
            pub(crate) fn check(&self) -> Result<()> {
                $(
                    if let Some(value) = self.$name.filter(|value| !value.is_within($lowest, $highest)) {
                        let shown = value.show();
                        return Err(<$type>::refused(stringify!($name), &shown, $lowest, $highest));
                    }
                )+
                Ok(())
            }
        }
    };
}

properties! {
    /// How long a connection may rest between requests before it is closed, without a response; 120 s by default.
    idle_connection: Duration = USUAL, SHORTEST, LONGEST;
    /// How long a request's head may take from its first byte (then 408), and a new connection's first byte (then it is
    /// closed without a response); 120 s by default.
    header_wait: Duration = USUAL, SHORTEST, LONGEST;
    /// How long a connection's PROXY header may take from when it has come in, where one is awaited (then it is closed
    /// without a response); 5 s by default. The engine's alone: it comes before any request.
    proxy_header: Duration = Duration::from_secs(5), SHORTEST, LONGEST;
    /// How long a request's body may pause before it is answered 408; begins anew with each piece; 120 s by default.
    entity_body: Duration = USUAL, SHORTEST, LONGEST;
    /// How long input that nobody wants is read and thrown away, so that the client gets to read its response; 120 s by
    /// default. A client that sends nothing for 5 s meanwhile is reset before.
    drain_entity_body: Duration = USUAL, SHORTEST, LONGEST;
    /// How long a request may wait for a consumer of its queue to take it before it is answered 503 and delivered to
    /// nobody; 120 s by default. Counted in [`Counters::queue_timeouts`](crate::Counters::queue_timeouts).
    request_queue: Duration = USUAL, SHORTEST, LONGEST;
    /// The least rate, in bytes a second, at which a client must take its response while the response waits for it, 1
    /// to 134,217,728; 0: none; 150 by default. Judged over all responses of a connection together, while something
    /// waits. Who falls 60 s behind, as one who takes nothing does in a minute, is reset, and counted in
    /// [`Counters::send_rate_timeouts`](crate::Counters::send_rate_timeouts). Where there is none, a client that takes
    /// nothing at all is reset after `idle_connection`.
    send_rate_min: u32 = 150, 0, 128 * MIB;
    /// The least rate, in bytes a second, at which a client must send a request's body while the engine receives it,
    /// 1 to 134,217,728; 0: none; 100 by default. Judged over all bodies of a connection together; no time counts while
    /// `request_body_credit` is used up, no buffer is free, or the client waits for `100 Continue`. Who falls 30 s
    /// behind, as one who sends nothing does in half a minute, is answered 408, and counted in
    /// [`Counters::receive_rate_timeouts`](crate::Counters::receive_rate_timeouts).
    receive_rate_min: u32 = 100, 0, 128 * MIB;
    /// The most bytes of a request's body, 0 to `u64::MAX`, which is the default and means no limit; beyond it: 413.
    request_body_max: u64 = u64::MAX, 0, u64::MAX;
    /// The most bytes of a request's body, up to an eighth of a shard's large buffers (`body_buffers`; 2 MiB with the
    /// defaults), that the engine waits for before it delivers the request, so that a slow client holds no consumer; 0
    /// or off, the default: a request is delivered when its head is whole. Longer bodies are not waited for: a request
    /// whose Content-Length is larger is delivered at once, one in chunks when more than that has come. Until then it
    /// is nobody's: it can be neither listed nor cancelled, a client that leaves is told to nobody, one that sends too
    /// slowly is answered 408, and `request_queue` does not run. All such bodies of a shard together have half of its
    /// large buffers, of which clients of one address leave half to others; who finds these promised to others waits,
    /// and is not judged meanwhile. While somebody does, a client that falls two seconds behind 1,000 bytes a second is
    /// answered 408, first those of the address that has most
    /// ([`Counters::bodies_evicted`](crate::Counters::bodies_evicted)).
    deliver_when_whole: u32 = 0, 0, 64 * MIB;
    /// Bytes of a request's body that the engine holds for an application that does not read them, 16 KiB to 64 MiB;
    /// 256 KiB by default. At a body's beginning, what the kernel had delivered before the engine could stop it, at
    /// most 64 small receive buffers, waits beside it.
    request_body_credit: u32 = 256 * KIB, 16 * KIB, 64 * MIB;
    /// Bytes of a response that an application may hand over before the client has taken them, 16 KiB to 64 MiB; 256
    /// KiB by default.
    send_credit: u32 = 256 * KIB, 16 * KIB, 64 * MIB;
    /// How long a connection may be silent before its client's kernel is asked whether it is still there (TCP
    /// keep-alive), 1 s to 9 h, in whole seconds; 60 s by default. Six times, a sixth of that time apart; if nothing
    /// comes back, the connection is reset, with its hung requests or its pipe. The engine's alone, since listening
    /// sockets hand it to what they accept: a session or a URL group cannot have another.
    keep_alive: Duration = Duration::from_secs(60), Duration::from_secs(1), Duration::from_secs(9 * 3600);
    /// How long the engine keeps memory that it does not use, at most, before it gives it back to the system, which
    /// costs a fault for each page that is used again; 60 s by default. Half of it at least. The engine's alone.
    keep_memory: Duration = Duration::from_secs(60), SHORTEST, LONGEST;
    /// Bytes that the kernel is to buffer for a connection, each way (SO_SNDBUF, SO_RCVBUF; it takes up to twice as
    /// many), at most 64 MiB, or 0 for as many as it sees fit (`net.ipv4.tcp_wmem`, `tcp_rmem`); 0 by default. Fewer
    /// save memory, and bound what a connection far away can carry. The engine's alone, as `keep_alive`.
    socket_buffer: u32 = 0, 0, 64 * MIB;
}

/// What sockets inherit from those that listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SocketOptions {
    /// After how much silence a client is asked whether it is still there.
    pub(crate) keep_alive: Option<Duration>,
    /// Bytes that the kernel is to buffer, each way.
    pub(crate) buffer: Option<u32>,
}

impl Properties {
    /// A timer that is switched off.
    pub const OFF: Duration = Duration::MAX;

    /// Checks what a session or a URL group sets, in an engine with others.
    pub(crate) fn check_below(&self, engine: &Self) -> Result<()> {
        self.check()?;
        let of_engine = [
            ("keep_alive", self.keep_alive.is_none() || self.keep_alive == engine.keep_alive),
            ("proxy_header", self.proxy_header.is_none() || self.proxy_header == engine.proxy_header),
            ("keep_memory", self.keep_memory.is_none() || self.keep_memory == engine.keep_memory),
            ("socket_buffer", self.socket_buffer.is_none() || self.socket_buffer == engine.socket_buffer),
        ];
        match of_engine.into_iter().find(|(_, is_same)| !is_same) {
            Some((name, _)) => {
                Err(Error::invalid(format!("{name} is the engine's alone: set it by EngineBuilder::properties")))
            }
            None => Ok(()),
        }
    }

    /// What listening sockets have for those that they accept.
    pub(crate) fn of_sockets(&self) -> SocketOptions {
        SocketOptions { keep_alive: self.asks_after(), buffer: self.socket_buffer.filter(|bytes| *bytes > 0) }
    }

    /// How long memory that is not used is kept.
    pub(crate) fn keeps_memory(&self) -> Duration {
        self.over(&Self::DEFAULTS).keep_memory.unwrap_or(Self::OFF)
    }

    /// After how much silence a client is asked whether it is still there.
    fn asks_after(&self) -> Option<Duration> {
        self.over(&Self::DEFAULTS).keep_alive.filter(|after| *after != Self::OFF)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;
    use crate::clock::ticks;

    #[test]
    fn what_is_not_set_is_inherited() {
        let engine = Properties::new().idle_connection(Duration::from_secs(1)).send_rate_min(0);
        let group = Properties::new().idle_connection(Properties::OFF);
        let both = group.over(&engine.over(&Properties::DEFAULTS));
        assert_eq!((both.idle_connection, both.send_rate_min), (Some(Properties::OFF), Some(0)));
        assert_eq!((both.entity_body, both.send_credit), (Some(USUAL), Some(256 * KIB)));
        assert_eq!(Properties::new(), Properties::default());
    }

    #[test]
    fn names_are_taken_without_regard_to_case_and_lines() {
        let mut properties = Properties::new();
        for (name, value) in [("EntityBody", "2s"), ("entity-body", "3s"), ("ENTITY_BODY", "4s")] {
            properties.set(name, value).expect("a name of the HTTP Server API");
        }
        properties.set("send_rate_min", "off").expect("a rate can be off");
        properties.set("RequestBodyMax", "1MiB").expect("a size");
        properties.set("send-credit", "64KiB").expect("a size");
        assert_eq!(properties.entity_body, Some(Duration::from_secs(4)));
        assert_eq!((properties.send_rate_min, properties.request_body_max), (Some(0), Some(1 << 20)));
        properties.set("RequestBodyMax", "off").expect("no limit");
        assert_eq!(properties.request_body_max, Some(u64::MAX));
    }

    /// The times and the rate are those of the HTTP Server API (`HTTP_TIMEOUT_LIMIT_INFO`), written out here once more.
    #[test]
    fn the_defaults_are_those_that_are_promised() {
        let two_minutes = Some(Duration::from_secs(2 * 60));
        let promised = Properties {
            idle_connection: two_minutes,
            header_wait: two_minutes,
            proxy_header: Some(Duration::from_secs(5)),
            entity_body: two_minutes,
            drain_entity_body: two_minutes,
            request_queue: two_minutes,
            send_rate_min: Some(150),
            receive_rate_min: Some(100),
            request_body_max: Some(u64::MAX),
            deliver_when_whole: Some(0),
            request_body_credit: Some(262_144),
            send_credit: Some(262_144),
            keep_alive: Some(Duration::from_secs(60)),
            keep_memory: Some(Duration::from_secs(60)),
            socket_buffer: Some(0),
        };
        assert_eq!(Properties::DEFAULTS, promised);
        let nothing_set = Policy::of(&Properties::new());
        let ticks = ticks(Duration::from_secs(120));
        let wanted = Policy {
            idle: ticks,
            header_wait: ticks,
            proxy_header: super::super::ticks(Duration::from_secs(5)),
            entity_body: ticks,
            drain: ticks,
            queue: ticks,
            send_rate: 150,
            receive_rate: 100,
            body_credit: 262_144,
            send_credit: 262_144,
            body_max: u64::MAX,
            whole_max: 0,
        };
        assert_eq!(nothing_set, wanted, "and they hold where nobody has set anything");
    }

    #[test]
    fn the_defaults_can_be_set_and_every_name_is_known() {
        Properties::DEFAULTS.check().expect("the defaults are within their ranges");
        assert_eq!(Properties::NAMES.len(), 15);
        for name in Properties::NAMES {
            let error = Properties::new().set(name, "nonsense").expect_err("no value").to_string();
            assert!(error.starts_with(&format!("{name} is \"nonsense\", but must be ")), "{error}");
        }
    }

    #[test]
    fn keep_alive_is_the_engines_alone() {
        let engine = Properties::new().keep_alive(Duration::from_secs(5)).over(&Properties::DEFAULTS);
        engine.check_below(&engine).expect("what was read can be set again");
        Properties::new().check_below(&engine).expect("nothing is set");
        let other = Properties::new().keep_alive(Properties::OFF);
        assert!(other.check_below(&engine).expect_err("another").to_string().contains("EngineBuilder::properties"));
        assert_eq!((engine.asks_after(), other.asks_after()), (Some(Duration::from_secs(5)), None));
        assert_eq!(Properties::new().asks_after(), Some(Duration::from_secs(60)));
        let error = Properties::new().set("keep-alive", "500ms").expect_err("the kernel counts in seconds").to_string();
        assert!(error.contains("a time from 1s to 9h"), "{error}");
    }

    #[test]
    fn errors_name_what_is_wrong_and_what_is_right() {
        let mut properties = Properties::new();
        let error = properties.set("patience", "2s").expect_err("no such name").to_string();
        assert!(error.contains("\"patience\"") && error.contains("idle_connection, header_wait"), "{error}");
        let error = properties.set("header_wait", "63ms").expect_err("too short").to_string();
        assert_eq!(
            error,
            "header_wait is \"63ms\", but must be a time from 64ms to 8760h, such as 2s or 500ms, or off"
        );
        let error = properties.set("send_credit", "1KiB").expect_err("too few").to_string();
        assert_eq!(error, "send_credit is \"1KiB\", but must be from 16KiB to 64MiB, such as 65536 or 64KiB");
        assert!(properties.set("send_credit", "off").is_err(), "a credit cannot be off");
        assert_eq!(properties, Properties::new(), "what fails leaves all as it was");
        let error = Properties::new().drain_entity_body(Duration::ZERO).check().expect_err("too short").to_string();
        assert!(error.starts_with("drain_entity_body is \"0ms\", but must be a time from 64ms"), "{error}");
    }
}
