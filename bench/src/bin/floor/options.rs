//! Command line: where to listen, and the knobs by which each choice can be weighed.

use std::net::SocketAddrV4;

use ringress_bench::ring::{Knobs, Shape, Wishes};

pub(crate) const USAGE: &str = "\
usage: floor [--listen 127.0.0.1:8090] [--core N] [knobs]

knobs, to weigh one choice against another; the defaults are the cheapest found:
  --buffers N       receive buffers in the ring, a power of two (default 256)
  --buffer-bytes N  size of one (default 4096)
  --stride N        distance between two (default 4160: a line more than a page)
  --huge-pages      ask for huge pages under the buffers
  --sq-entries N    submission queue (default 256)
  --cq-entries N    completion queue (default 4096)
  --send-cqe        let every send post a completion
  --sqarray         keep the submission index array even if the kernel can drop it
  --no-ring-fd      do not register the ring's descriptor
  --taskrun-flag    have the kernel flag pending task work
  --coop            cooperative instead of deferred task work
  --no-iowait       do not count waiting as I/O wait
  --direct          accept into the ring's own descriptor table
  --gather N        before sending, reap up to N more times while that finds something
  --batch N --batch-us U
                    wait for N completions, or for one after U microseconds
  --congestion NAME the connections' congestion control, if not the host's default";

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddrV4,
    pub(crate) core: Option<usize>,
    /// How many receive buffers; a power of two.
    pub(crate) buffers: u16,
    pub(crate) buffer_bytes: u32,
    /// Bytes from one buffer's start to the next one's; at least `buffer_bytes`.
    pub(crate) stride: u32,
    pub(crate) huge_pages: bool,
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) send_cqe: bool,
    pub(crate) sqarray: bool,
    pub(crate) ring_fd: bool,
    pub(crate) taskrun_flag: bool,
    pub(crate) coop: bool,
    pub(crate) no_iowait: bool,
    pub(crate) direct: bool,
    /// Extra reaps per turn.
    pub(crate) gather: u32,
    /// Completions a wait asks for.
    pub(crate) batch: usize,
    /// Microseconds after which a wait is content with one completion; 0 is never.
    pub(crate) batch_us: u32,
    /// Congestion control of the connections; empty is the host's default.
    pub(crate) congestion: String,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            listen: "127.0.0.1:8090".parse().map_err(|_| "bad default address")?,
            core: None,
            buffers: 256,
            buffer_bytes: 4096,
            stride: 4160,
            huge_pages: false,
            sq_entries: 256,
            cq_entries: 4096,
            send_cqe: false,
            sqarray: false,
            ring_fd: true,
            taskrun_flag: false,
            coop: false,
            no_iowait: false,
            direct: false,
            gather: 0,
            batch: 1,
            batch_us: 0,
            congestion: String::new(),
        };
        while let Some(name) = args.next() {
            match name.as_str() {
                "--listen" => options.listen = value(&name, args.next())?,
                "--core" => options.core = Some(value(&name, args.next())?),
                "--buffers" => options.buffers = value(&name, args.next())?,
                "--buffer-bytes" => options.buffer_bytes = value(&name, args.next())?,
                "--stride" => options.stride = value(&name, args.next())?,
                "--huge-pages" => options.huge_pages = true,
                "--sq-entries" => options.sq_entries = value(&name, args.next())?,
                "--cq-entries" => options.cq_entries = value(&name, args.next())?,
                "--send-cqe" => options.send_cqe = true,
                "--sqarray" => options.sqarray = true,
                "--no-ring-fd" => options.ring_fd = false,
                "--taskrun-flag" => options.taskrun_flag = true,
                "--coop" => options.coop = true,
                "--no-iowait" => options.no_iowait = true,
                "--direct" => options.direct = true,
                "--gather" => options.gather = value(&name, args.next())?,
                "--batch" => options.batch = value(&name, args.next())?,
                "--batch-us" => options.batch_us = value(&name, args.next())?,
                "--congestion" => options.congestion = value(&name, args.next())?,
                other => return Err(format!("unknown option {other}")),
            }
        }
        options.check()
    }

    fn check(self) -> Result<Self, String> {
        if !self.buffers.is_power_of_two() || self.buffers > 1 << 15 {
            return Err("--buffers must be a power of two, at most 32768".into());
        }
        if self.buffer_bytes == 0 || self.stride < self.buffer_bytes {
            return Err("--stride must be at least --buffer-bytes, which must not be 0".into());
        }
        if self.batch == 0 || (self.batch > 1 && self.batch_us == 0) {
            return Err("--batch needs --batch-us, or a lone request would wait for ever".into());
        }
        Ok(self)
    }
}

impl Options {
    pub(crate) fn shape(&self) -> Shape {
        Shape { count: self.buffers, buffer_bytes: self.buffer_bytes, stride: self.stride, huge_pages: self.huge_pages }
    }

    pub(crate) fn wishes(&self) -> Wishes {
        Wishes {
            sq_entries: self.sq_entries,
            cq_entries: self.cq_entries,
            sqarray: self.sqarray,
            taskrun_flag: self.taskrun_flag,
            coop: self.coop,
        }
    }

    pub(crate) fn knobs(&self) -> Knobs {
        Knobs {
            direct: self.direct,
            ring_fd: self.ring_fd,
            no_iowait: self.no_iowait,
            batch: self.batch,
            batch_us: self.batch_us,
        }
    }
}

fn value<T: std::str::FromStr>(name: &str, text: Option<String>) -> Result<T, String> {
    let text = text.ok_or_else(|| format!("{name} needs a value"))?;
    text.parse().map_err(|_| format!("{name}: {text} is not understood"))
}
