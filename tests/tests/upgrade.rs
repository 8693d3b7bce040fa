//! The showcase's `/upgrade`: an echo of bytes on a connection that has switched protocols.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use ringress_tests::{Server, both_modes};

both_modes![bytes_come_back_to_the_clients_end, a_pipe_keeps_nobody_waiting, who_asks_for_nothing_else_is_told];

const ASKS: &str = "GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

/// A connection that has been upgraded, with so many bytes sent along.
fn upgraded(server: &Server, early: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("the showcase listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("not zero");
    stream.write_all(&[ASKS.as_bytes(), early].concat()).expect("it is taken");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"), "{head}");
    stream
}

fn bytes_come_back_to_the_clients_end(server: &Server) {
    let sent: Vec<u8> = (0..2_000_000_u32).map(|place| u8::try_from(place % 251).expect("below 251")).collect();
    let (early, late) = sent.split_at(100);
    let mut stream = upgraded(server, early);
    let mut writing = stream.try_clone().expect("a descriptor is free");
    let late = late.to_vec();
    let writer = thread::spawn(move || {
        writing.write_all(&late).expect("it is taken");
        writing.shutdown(Shutdown::Write).expect("open");
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("it ends in order");
    writer.join().expect("all is written");
    assert!(back == sent, "{} bytes came back of {}", back.len(), sent.len());
}

fn a_pipe_keeps_nobody_waiting(server: &Server) {
    let mut pipes: Vec<_> = (0..5).map(|_| upgraded(server, b"")).collect();
    let mut byte = [0];
    for round in 0..10_u8 {
        assert_eq!(server.connect().exchange(server.get("/pipeline")).text(), "ok");
        for pipe in &mut pipes {
            pipe.write_all(&[round]).expect("it is taken");
            pipe.read_exact(&mut byte).expect("it comes back");
            assert_eq!(byte, [round]);
        }
    }
}

fn who_asks_for_nothing_else_is_told(server: &Server) {
    let mut client = server.connect();
    assert_eq!(client.exchange(server.get("/upgrade")).status, 400);
    let other = ASKS.replace("Upgrade: echo", "Upgrade: h2c");
    assert_eq!(client.exchange(other).status, 400);
    let with_body = ASKS.replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\nbody");
    let answer = client.exchange(with_body);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("without a body"), "{answer:?}");
    assert_eq!(client.exchange(server.get("/pipeline")).text(), "ok", "the connection goes on");
}
