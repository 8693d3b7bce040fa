//! A raw client: the test decides every byte sent, the reader checks every byte received.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockFilter, SockRef, Socket, Type};

use crate::response::{Framing, Response};

/// Longest wait for a byte, and for room to write one.
const IO_WAIT_MAX: Duration = Duration::from_secs(10);

/// What an Ethernet segment carries.
const NARROW_SEGMENT_BYTES: u32 = 1_448;

/// One connection, with `TCP_NODELAY` so that every send leaves as its own segment.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Received and not yet read as part of a response.
    unread: Vec<u8>,
    /// What the test is about, for its failures.
    about: String,
}

impl Client {
    /// Connects within a bounded time.
    ///
    /// # Panics
    /// When the server does not accept.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, IO_WAIT_MAX)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Self::over(stream)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY is always settable");
        stream.set_read_timeout(Some(IO_WAIT_MAX)).expect("a read timeout above zero is valid");
        stream.set_write_timeout(Some(IO_WAIT_MAX)).expect("a write timeout above zero is valid");
        Self { stream, unread: Vec::new(), about: String::new() }
    }

    /// As [`Self::connect`], as if over a narrow network: with a small receive buffer, and segments of 1,448 bytes, for
    /// loopback's of 64 KiB make the kernel hold 2.5 MB of a response for each connection.
    ///
    /// # Panics
    /// When the server does not accept.
    #[must_use]
    pub fn connect_narrow(address: SocketAddr, receive_bytes: usize) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket can be had");
        // Both are agreed on when the connection is made.
        socket.set_recv_buffer_size(receive_bytes).expect("SO_RCVBUF is always settable");
        socket.set_tcp_mss(NARROW_SEGMENT_BYTES).expect("TCP_MAXSEG is settable before connecting");
        let connected = socket.connect_timeout(&address.into(), IO_WAIT_MAX);
        connected.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Self::over(TcpStream::from(socket))
    }

    /// Names what this connection is for, in a table of many; failures repeat it.
    #[must_use]
    pub fn about(self, about: impl Into<String>) -> Self {
        Self { about: about.into(), ..self }
    }

    /// Sends all bytes.
    ///
    /// # Panics
    /// When the connection breaks or takes too long.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("sending failed: {error} {}", self.about));
    }

    /// Sends all bytes, or reports why not: for peers that may already have closed.
    ///
    /// # Errors
    /// As writing to the socket gives them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// A second handle that only writes, for sending while another thread reads answers.
    ///
    /// # Panics
    /// When the descriptor cannot be duplicated.
    #[must_use]
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be duplicated")
    }

    /// Vanishes: whatever comes for this connection from now on is dropped before its kernel sees it, so that nothing
    /// is acknowledged, answered or reset. As behind a cable that was pulled.
    ///
    /// # Panics
    /// When the kernel has no socket filters.
    pub fn vanish(&self) {
        // BPF_RET | BPF_K: of every packet, no byte is kept.
        let nothing = [SockFilter::new(0x06, 0, 0, 0)];
        SockRef::from(&self.stream).attach_filter(&nothing).expect("this kernel has socket filters");
    }

    /// The local address of this connection.
    ///
    /// # Panics
    /// When the socket has none.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has a local address")
    }

    /// Reads one final response to a request that may have a body in its response.
    ///
    /// # Panics
    /// When none comes in time, or it breaks a rule of its framing.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.final_response(false)
    }

    /// Reads one final response to a HEAD request.
    ///
    /// # Panics
    /// As [`Self::response`].
    #[track_caller]
    pub fn response_to_head(&mut self) -> Response {
        self.final_response(true)
    }

    /// Reads one response, interim or final.
    ///
    /// # Panics
    /// As [`Self::response`].
    #[track_caller]
    pub fn any_response(&mut self) -> Response {
        self.read_response(false)
    }

    /// Sends one request and reads its response.
    ///
    /// # Panics
    /// As [`Self::send`] and [`Self::response`].
    #[track_caller]
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response()
    }

    /// Sends one HEAD request and reads its response.
    ///
    /// # Panics
    /// As [`Self::send`] and [`Self::response`].
    #[track_caller]
    pub fn exchange_head(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response_to_head()
    }

    /// Checks that the server ends the stream in order, with nothing more to read.
    ///
    /// # Panics
    /// When bytes follow, or the stream breaks off instead of ending.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let rest = self.read_to_end();
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty(), "unexpected bytes before the end: {rest:?} {}", self.about);
    }

    /// Checks that the server has not answered anything sent so far with a reset. A reset that comes after the end of
    /// the stream cannot be seen by reading.
    ///
    /// # Panics
    /// When it has.
    #[track_caller]
    pub fn assert_not_reset(&self) {
        let error = self.stream.take_error().expect("SO_ERROR can be read");
        assert!(error.is_none(), "the connection was reset: {error:?} {}", self.about);
    }

    /// Reads all that comes until the server ends the stream.
    ///
    /// # Panics
    /// When the stream is reset or does not end in time.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// Whether anything has arrived that no response read so far has used. Does not wait.
    ///
    /// # Panics
    /// When the socket refuses to be asked.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket can be made non-blocking");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket can be made blocking");
        !self.unread.is_empty() || peeked.is_ok()
    }

    /// Ends the sending side: the server sees end of stream, answers still arrive.
    ///
    /// # Panics
    /// When the connection is already gone.
    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a live connection can be half-closed");
    }

    /// As [`Self::finish_sending`], of a connection that the server may have ended.
    pub fn finish_sending_if_open(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Breaks the connection with a reset.
    ///
    /// # Panics
    /// When the socket refuses `SO_LINGER`.
    pub fn reset(self) {
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&self.stream, linger).expect("SO_LINGER is always settable");
    }

    /// Reads the head of a final response; its body is still to be read.
    ///
    /// # Panics
    /// As [`Self::response`].
    #[track_caller]
    pub fn head(&mut self) -> Response {
        let answer = self.read_head();
        assert!(answer.status >= 200, "interim answer where a final one was due: {answer:?}");
        answer.assert_well_formed();
        answer
    }

    /// Reads at least one byte and at most `most`; none at the end of the stream.
    ///
    /// # Panics
    /// When the stream is reset, or nothing comes in time.
    #[track_caller]
    pub fn some(&mut self, most: usize) -> Vec<u8> {
        if self.unread.is_empty() {
            self.fill();
        }
        self.unread.drain(..most.min(self.unread.len())).collect()
    }

    /// Takes up to `most` bytes from the socket, and throws them away.
    ///
    /// # Errors
    /// As the socket gives them: the server may have reset the connection.
    pub fn try_some(&mut self, most: usize) -> io::Result<usize> {
        let mut block = vec![0; most];
        self.read_once(&mut block)
    }

    /// Reads all that comes until the connection ends, and whether it ended in order or by a reset.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn read_until_gone(&mut self) -> (Vec<u8>, bool) {
        let mut block = vec![0; 64 * 1024];
        loop {
            match self.read_once(&mut block) {
                Ok(0) => return (std::mem::take(&mut self.unread), true),
                Ok(count) => self.unread.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return (std::mem::take(&mut self.unread), false);
                }
                Err(error) => panic!("neither bytes nor an end: {error} {}", self.about),
            }
        }
    }

    /// Checks that the server breaks the connection with a reset, whatever it sends before.
    ///
    /// # Panics
    /// When it ends the stream in order, or not in time.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        let (got, in_order) = self.read_until_gone();
        assert!(!in_order, "an end in order after {} bytes, not a reset {}", got.len(), self.about);
    }

    /// A longer or shorter wait for bytes than ten seconds.
    ///
    /// # Panics
    /// When the wait is zero.
    #[must_use]
    pub fn waiting(self, most: Duration) -> Self {
        self.stream.set_read_timeout(Some(most)).expect("a read timeout above zero is valid");
        self
    }

    #[track_caller]
    fn final_response(&mut self, to_head: bool) -> Response {
        let answer = self.read_response(to_head);
        assert!(answer.status >= 200, "interim answer where a final one was due: {answer:?}");
        answer.assert_well_formed();
        answer
    }

    #[track_caller]
    fn read_head(&mut self) -> Response {
        let (answer, length) = loop {
            match Response::parse_head(&self.unread) {
                Some(head) => break head,
                None => self.fill_or_panic("a response head"),
            }
        };
        self.unread.drain(..length);
        answer
    }

    #[track_caller]
    fn read_response(&mut self, to_head: bool) -> Response {
        let mut answer = self.read_head();
        match answer.framing(to_head) {
            Framing::None => {}
            Framing::Length(length) => answer.body = self.take(length),
            Framing::Chunked => (answer.body, answer.trailers) = self.take_chunked(),
            Framing::UntilClose => answer.body = self.read_to_end(),
        }
        answer
    }

    #[track_caller]
    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            self.fill_or_panic("the rest of a body");
        }
        self.unread.drain(..length).collect()
    }

    #[track_caller]
    fn take_line(&mut self) -> String {
        let end = loop {
            match self.unread.windows(2).position(|pair| pair == b"\r\n") {
                Some(end) => break end,
                None => self.fill_or_panic("a line of chunked framing"),
            }
        };
        let line = self.take(end + 2);
        String::from_utf8(line[..end].to_vec()).expect("chunk lines are ASCII")
    }

    #[track_caller]
    fn take_chunked(&mut self) -> (Vec<u8>, Vec<(String, String)>) {
        let mut body = Vec::new();
        while let size @ 1.. = self.chunk_size() {
            body.extend(self.take(size));
            self.end_of_chunk();
        }
        (body, self.trailers())
    }

    /// Reads one chunk of a body whose head was read; the last is empty, and what ends the body is read with it.
    ///
    /// # Panics
    /// As [`Self::response`].
    #[track_caller]
    pub fn chunk(&mut self) -> Vec<u8> {
        let size = self.chunk_size();
        if size == 0 {
            let _ = self.trailers();
            return Vec::new();
        }
        let chunk = self.take(size);
        self.end_of_chunk();
        chunk
    }

    /// The size of the next chunk, 0 for the last.
    #[track_caller]
    pub(crate) fn chunk_size(&mut self) -> usize {
        let line = self.take_line();
        usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("chunk size {line:?}"))
    }

    #[track_caller]
    pub(crate) fn end_of_chunk(&mut self) {
        assert_eq!(self.take_line(), "", "a chunk ends with CRLF");
    }

    /// The fields after the last chunk, with the line that ends them.
    #[track_caller]
    pub(crate) fn trailers(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.take_line();
            if line.is_empty() {
                return fields;
            }
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("trailer {line:?}"));
            fields.push((name.to_owned(), value.to_owned()));
        }
    }

    #[track_caller]
    fn fill_or_panic(&mut self, wanted: &str) {
        let got = self.fill();
        let have = String::from_utf8_lossy(&self.unread);
        assert!(got > 0, "stream ended while waiting for {wanted}, have {have:?} {}", self.about);
    }

    /// A read with a timeout is interrupted when the process is stopped and goes on, whatever SA_RESTART says.
    fn read_once(&mut self, block: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Reads once, returning the bytes added; zero at the end of the stream.
    #[track_caller]
    fn fill(&mut self) -> usize {
        let mut block = [0; 64 * 1024];
        match self.read_once(&mut block) {
            Ok(count) => {
                self.unread.extend_from_slice(&block[..count]);
                count
            }
            Err(error) => {
                let have = String::from_utf8_lossy(&self.unread[..self.unread.len().min(500)]);
                panic!("reading failed: {error}; unread: {have:?} {}", self.about)
            }
        }
    }
}
