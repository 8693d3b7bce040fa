//! What a connection may do next, by RFC 9112: a pure machine of counts and phases, without sockets, bytes or time.
//!
//! ```text
//!            last request taken                 all responses sent
//!   Open ───────────────────────────▶ Last ───────────────────────▶ Over
//!     │     (close wanted, refused,                                   ▲
//!     │      end of input)                                            │
//!     └───────────────────────────────────────────────────────────────┘
//!            end of input with nothing owed
//! ```
//!
//! Invariants:
//! * Requests with safe methods run side by side; whatever follows an unsafe one waits until it is answered
//!   (RFC 9112 section 9.3.2).
//! * A request that asks for an upgrade is waited for, too, and what follows it is kept whatever else is said: it may
//!   not be HTTP (RFC 9110 section 7.8).
//! * A connection that will close takes no further request, and closes only after everything owed is sent.
//! * After the last response our side is shut first and input is read on for a time, unless it has ended, so that the
//!   client gets to read the response (RFC 9112 section 9.6).
//!
//! Not here: which bytes form a request (`proto`), in which order answers are kept (`shard::protocol`), how long a
//! timeout is (`policy`).

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Last,
    Over,
}

/// What may follow a request before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exclusivity {
    /// Other requests.
    Shared,
    /// Nothing: its method is unsafe.
    UntilAnswered,
    /// Nothing: it asks for an upgrade, after which no more requests follow.
    Upgrade,
}

/// Whether another request may be taken from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Now,
    /// After responses have gone out; input is held until then.
    Later,
    /// Not on this connection; input is thrown away.
    Never,
}

/// What follows when everything handed to the socket has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterSend {
    /// The connection goes on.
    GoOn,
    /// Shut our side and drain.
    Drain,
    /// Close.
    Close,
}

/// Which part of a request is here that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    None,
    /// A part of its head.
    Head,
    /// Its head and a part of its body.
    Body,
    /// What comes is read only to be thrown away: the rest of a body, or, our side being shut, all of it.
    Unread,
}

/// What a connection waits for, as far as a timer is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitReason {
    /// For the application: for a consumer to take the requests; once they are taken, no timer.
    Queue,
    /// For the first byte of a request.
    Idle,
    /// For the rest of a head.
    Head,
    /// For more of a body.
    Body,
    /// For the rest of input that nobody wants: of a body, or, our side being shut, to its end.
    Drain,
    /// For the client to take what is sent.
    Send,
}

/// What to do when the wait has lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Answer what nobody has taken in time.
    Queue,
    /// Close without a response: no request had begun.
    Close,
    /// Answer 408 to a head, then close.
    Head,
    /// Answer 408 to a body, then close.
    Body,
    /// See whether the client takes enough; close at once if not.
    Send,
    /// Close at once: the client does not end a body, or its side.
    Reset,
}

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    phase: Phase,
    /// Whether the next request waits for the response to the newest one taken.
    exclusivity: Exclusivity,
    /// Requests taken whose responses have not been handed to the socket.
    in_flight: u16,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { phase: Phase::Open, exclusivity: Exclusivity::Shared, in_flight: 0 }
    }

    /// Requests taken whose responses have not been handed to the socket.
    #[inline]
    pub(crate) fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// May another request be taken, with at most `pipeline_max` at a time? Changed by [`request`](Self::request),
    /// [`refusal`](Self::refusal), [`answers`](Self::answers), [`finish`](Self::finish).
    #[inline]
    pub(crate) fn admission(&self, pipeline_max: u16) -> Admission {
        match self.phase {
            Phase::Open if self.exclusivity != Exclusivity::Shared || self.in_flight >= pipeline_max => {
                Admission::Later
            }
            Phase::Open => Admission::Now,
            Phase::Last if self.exclusivity == Exclusivity::Upgrade => Admission::Later,
            Phase::Last | Phase::Over => Admission::Never,
        }
    }

    /// A request was taken. `keep_alive`: the connection may go on after it.
    #[inline]
    pub(crate) fn request(&mut self, exclusivity: Exclusivity, keep_alive: bool) {
        debug_assert!(self.phase == Phase::Open && self.exclusivity == Exclusivity::Shared);
        self.in_flight += 1;
        self.exclusivity = exclusivity;
        if !keep_alive {
            self.phase = Phase::Last;
        }
    }

    /// The engine owes a response of its own, after which the connection goes on only if `keep_alive`.
    pub(crate) fn refusal(&mut self, keep_alive: bool) {
        self.in_flight += 1;
        if !keep_alive {
            self.finish();
        }
    }

    /// The newest request is answered by nothing of its own.
    pub(crate) fn forget_newest(&mut self) {
        debug_assert!(self.in_flight > 0);
        self.in_flight -= 1;
    }

    /// So many responses are handed to the socket; with `close`, nothing may follow the last of them: what else is in
    /// flight is lost.
    #[inline]
    pub(crate) fn answers(&mut self, count: u16, close: bool) {
        debug_assert!(self.in_flight >= count);
        self.in_flight -= count;
        if close {
            self.in_flight = 0;
            self.finish();
        }
        if self.in_flight == 0 {
            self.exclusivity = Exclusivity::Shared;
        }
    }

    /// Whether the connection ends behind its `count` oldest responses, as far as is known before they are sent.
    #[inline]
    pub(crate) fn ends_behind(&self, count: u16) -> bool {
        self.phase == Phase::Last && self.in_flight <= count
    }

    /// No further request is taken; what is owed will be sent.
    pub(crate) fn finish(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Last;
        }
    }

    /// The client has ended its side. `true`: nothing is owed, so close.
    pub(crate) fn end_of_input(&mut self, sending: bool) -> bool {
        if self.in_flight == 0 && !sending {
            self.phase = Phase::Over;
        } else {
            self.finish();
        }
        self.phase == Phase::Over
    }

    /// Everything handed to the socket has been sent; `input_ended`: the client has ended its side.
    #[inline]
    pub(crate) fn sent(&mut self, input_ended: bool) -> AfterSend {
        if !self.ends_when_sent() {
            return AfterSend::GoOn;
        }
        self.phase = Phase::Over;
        if input_ended { AfterSend::Close } else { AfterSend::Drain }
    }

    /// Whether the connection ends once what is handed to the socket has been sent: see [`sent`](Self::sent).
    #[inline]
    pub(crate) fn ends_when_sent(&self) -> bool {
        self.phase == Phase::Last && self.in_flight == 0
    }

    /// Whether no further request is taken, whatever comes.
    #[inline]
    pub(crate) fn takes_no_more(&self) -> bool {
        match self.phase {
            Phase::Open => false,
            Phase::Last => self.exclusivity != Exclusivity::Upgrade,
            Phase::Over => true,
        }
    }

    /// What the connection waits for. `part`: what is here of a request; `blocked`: the socket did not take all.
    #[inline]
    pub(crate) fn wait_reason(&self, part: Part, blocked: bool) -> WaitReason {
        match (self.phase, part) {
            _ if blocked => WaitReason::Send,
            (Phase::Open, Part::Head) => WaitReason::Head,
            // The last request has its body, too.
            (Phase::Open | Phase::Last, Part::Body) => WaitReason::Body,
            // The client of a response that is owed may be waiting for that.
            (_, Part::Unread) if self.in_flight == 0 => WaitReason::Drain,
            (Phase::Open, Part::None) if self.in_flight == 0 => WaitReason::Idle,
            (Phase::Open | Phase::Last | Phase::Over, _) => WaitReason::Queue,
        }
    }

    /// The wait has ended.
    pub(crate) fn expired(&self, part: Part, blocked: bool) -> Expiry {
        match self.wait_reason(part, blocked) {
            WaitReason::Queue => Expiry::Queue,
            WaitReason::Idle => Expiry::Close,
            WaitReason::Head => Expiry::Head,
            WaitReason::Body => Expiry::Body,
            WaitReason::Send => Expiry::Send,
            WaitReason::Drain => Expiry::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_requests_run_side_by_side_up_to_the_limit() {
        let mut machine = Machine::new();
        for taken in 0..4 {
            assert_eq!(machine.admission(4), Admission::Now, "{taken} in flight");
            machine.request(Exclusivity::Shared, true);
        }
        assert_eq!(machine.admission(4), Admission::Later);
        machine.answers(1, false);
        assert_eq!(machine.admission(4), Admission::Now);
    }

    #[test]
    fn what_follows_an_unsafe_request_waits_for_every_answer() {
        let mut machine = Machine::new();
        machine.request(Exclusivity::Shared, true);
        machine.request(Exclusivity::UntilAnswered, true);
        machine.answers(1, false);
        assert_eq!(machine.admission(64), Admission::Later);
        machine.answers(1, false);
        assert_eq!(machine.admission(64), Admission::Now);
        assert_eq!(machine.sent(false), AfterSend::GoOn);
    }

    #[test]
    fn a_last_request_is_answered_then_drained() {
        let mut machine = Machine::new();
        machine.request(Exclusivity::Shared, false);
        assert_eq!((machine.admission(64), machine.sent(false)), (Admission::Never, AfterSend::GoOn));
        machine.answers(1, false);
        assert_eq!(machine.sent(false), AfterSend::Drain);
        assert_eq!(machine.expired(Part::Unread, false), Expiry::Reset);
        assert!(machine.end_of_input(false));
    }

    #[test]
    fn what_follows_a_wish_for_an_upgrade_is_kept_until_it_is_answered() {
        for keep_alive in [true, false] {
            let mut machine = Machine::new();
            machine.request(Exclusivity::Upgrade, keep_alive);
            assert_eq!(machine.admission(64), Admission::Later);
            machine.finish();
            assert_eq!(machine.admission(64), Admission::Later, "also when the engine is about to stop");
            machine.answers(1, false);
            assert_eq!(machine.admission(64), Admission::Never);
        }
    }

    #[test]
    fn a_refusal_waits_for_earlier_answers() {
        let mut machine = Machine::new();
        machine.request(Exclusivity::Shared, true);
        machine.refusal(false);
        assert_eq!(machine.admission(64), Admission::Never);
        machine.answers(1, false);
        assert_eq!(machine.sent(false), AfterSend::GoOn);
        machine.answers(1, false);
        assert_eq!(machine.sent(false), AfterSend::Drain);
    }

    #[test]
    fn a_half_closed_client_gets_its_answers_first() {
        let mut machine = Machine::new();
        machine.request(Exclusivity::Shared, true);
        assert!(!machine.end_of_input(false));
        machine.answers(1, false);
        assert_eq!(machine.sent(true), AfterSend::Close);
        assert!(Machine::new().end_of_input(false));
        let mut sending = Machine::new();
        assert!(!sending.end_of_input(true));
        assert_eq!(sending.sent(true), AfterSend::Close);
    }

    #[test]
    fn timers_follow_what_is_waited_for() {
        let mut machine = Machine::new();
        assert_eq!(machine.expired(Part::None, false), Expiry::Close);
        assert_eq!(machine.expired(Part::Head, false), Expiry::Head);
        assert_eq!(machine.expired(Part::Body, false), Expiry::Body);
        assert_eq!(machine.expired(Part::Unread, false), Expiry::Reset);
        machine.request(Exclusivity::Shared, true);
        assert_eq!(machine.expired(Part::None, false), Expiry::Queue);
        assert_eq!(machine.expired(Part::Head, false), Expiry::Head);
        assert_eq!(machine.expired(Part::Head, true), Expiry::Send);
    }

    #[test]
    fn an_answer_that_closes_loses_what_is_behind_it() {
        let mut machine = Machine::new();
        machine.request(Exclusivity::Shared, true);
        machine.request(Exclusivity::Shared, true);
        machine.answers(1, true);
        assert_eq!((machine.in_flight(), machine.sent(false)), (0, AfterSend::Drain));
    }
}
