//! System calls that are refused, as in a container, by a real seccomp filter.
//!
//! Invariants: a filter holds for the thread that installs it, for threads that it starts from then on and for programs
//! that these run, and cannot be taken off.
//!
//! Source: seccomp(2), prctl(2).

/// Fields of `struct seccomp_data`, in bytes from its beginning: which call, and the lower half of its first argument,
/// behind which each has eight bytes.
const CALL: u32 = 0;
const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };

/// Where the lower half of an argument is, counted from 0.
fn argument(index: u32) -> u32 {
    FIRST_ARGUMENT + 8 * index
}

/// What io_uring needs.
pub(crate) const IO_URING_CALLS: [libc::c_long; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// A filter that answers some calls with an error.
pub(crate) struct Filter {
    errno: i32,
    program: Vec<libc::sock_filter>,
    /// What becomes of every other call.
    otherwise: u32,
}

/// What the lower half of an argument has to be.
#[derive(Clone, Copy)]
pub(crate) enum Compare {
    Equal(u32),
    Below(u32),
    Above(u32),
    /// With these bits, and no others looked at, this.
    Masked(u32, u32),
}

fn code(bits: u32) -> u16 {
    u16::try_from(bits).expect("codes are small")
}

fn statement(bits: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code(bits), jt: 0, jf: 0, k }
}

/// Passes over so many statements unless the comparison holds.
fn jump(bits: u32, k: u32, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code(libc::BPF_JMP | bits | libc::BPF_K), jt: 0, jf, k }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const GIVE: u32 = libc::BPF_RET | libc::BPF_K;

impl Filter {
    /// That allows everything, so far.
    pub(crate) fn new(errno: i32) -> Self {
        Self { errno, program: Vec::new(), otherwise: libc::SECCOMP_RET_ALLOW }
    }

    /// That has this become of everything, so far.
    pub(crate) fn otherwise(action: u32) -> Self {
        Self { errno: 0, program: Vec::new(), otherwise: action }
    }

    /// Has this become of a call, on the condition that an argument is so, if there is one.
    pub(crate) fn rule(mut self, call: libc::c_long, condition: Option<(u32, Compare)>, action: u32) -> Self {
        let mut on_condition = Vec::new();
        if let Some((index, compare)) = condition {
            on_condition.push(statement(LOAD, argument(index)));
            // The opposite passes over what comes behind the jump.
            let unless = |bits, k| libc::sock_filter { jt: 1, ..jump(bits, k, 0) };
            match compare {
                Compare::Equal(value) => on_condition.push(jump(libc::BPF_JEQ, value, 1)),
                Compare::Below(value) => on_condition.push(unless(libc::BPF_JGE, value)),
                Compare::Above(value) => on_condition.push(jump(libc::BPF_JGT, value, 1)),
                Compare::Masked(mask, value) => on_condition.extend([
                    statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask),
                    jump(libc::BPF_JEQ, value, 1),
                ]),
            }
        }
        on_condition.push(statement(GIVE, action));
        let call = u32::try_from(call).expect("numbers of calls are small");
        let len = u8::try_from(on_condition.len()).expect("a few");
        self.program.extend([statement(LOAD, CALL), jump(libc::BPF_JEQ, call, len)]);
        self.program.extend(on_condition);
        self
    }

    /// Denies a call when its second argument is at least so much.
    pub(crate) fn deny(mut self, call: libc::c_long, at_least: u32) -> Self {
        let call = u32::try_from(call).expect("numbers of calls are small");
        self.program.extend([
            statement(LOAD, CALL),
            jump(libc::BPF_JEQ, call, 3),
            // Of `io_uring_enter`, how many entries it is to submit.
            statement(LOAD, argument(1)),
            jump(libc::BPF_JGE, at_least, 1),
            statement(GIVE, libc::SECCOMP_RET_ERRNO | self.errno.unsigned_abs()),
        ]);
        self
    }

    /// From now on it holds. `false` where filters cannot be had, which is said.
    pub(crate) fn install(mut self) -> bool {
        self.program.push(statement(GIVE, self.otherwise));
        let len = u16::try_from(self.program.len()).expect("short");
        let filter = libc::sock_fprog { len, filter: self.program.as_mut_ptr() };
        // SAFETY: the call takes numbers.
        let privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: the pointer is that of a filter of `len` instructions, both of which outlive the call; it is copied.
        let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
        if (privileges, set) != (0, 0) {
            eprintln!("skipped: this kernel takes no seccomp filter: {}", std::io::Error::last_os_error());
        }
        (privileges, set) == (0, 0)
    }
}
