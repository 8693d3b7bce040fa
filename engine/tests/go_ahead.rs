//! `Expect: 100-continue` where nothing is left to go ahead with.

mod common;

use common::{Host, wait_until};
use ringress::Response;

#[test]
fn an_empty_body_that_has_ended_leaves_no_client_waiting_to_continue() {
    let host = Host::start();
    let mut client = host.connect();
    for whole in [true, false] {
        // Behind a head in pieces, the end of an empty body comes behind its request.
        let head = "POST /x HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n";
        let assembled = host.counters().copies;
        client.send(head);
        if !whole {
            wait_until("a part of the head is here", || host.counters().copies > assembled);
        }
        client.send("\r\n0\r\n\r\n");
        let request = host.receive();
        wait_until("the body is whole", || request.whole_body().is_some());
        request.respond(Response::text("ok")).expect("open");
        let reply = client.read();
        assert_eq!((reply.text(), reply.closes()), ("ok", false), "at once: {whole}");
    }
    drop(client);
    host.await_rest();
}
