//! Layers of tower-http and files, as both servers show them.

use crate::both::{Both, plain, with_body};

#[test]
fn layers() {
    let gzip = "Accept-Encoding: gzip\r\n";
    let origin = "Origin: http://one.test\r\n";
    let asks = "Origin: http://one.test\r\nAccess-Control-Request-Method: PUT\r\n";
    Both::start().compare(&[
        plain("compressed", "GET /compressed/long", gzip),
        plain("compressed head", "HEAD /compressed/long", gzip),
        plain("compressed not", "GET /compressed/long", ""),
        plain("compressed short", "GET /compressed/short", gzip),
        plain("compressed pieces", "GET /compressed/pieces", gzip),
        plain("compressed image", "GET /compressed/image", gzip),
        plain("cors", "GET /cors", origin),
        plain("cors without an origin", "GET /cors", ""),
        plain("cors of another", "GET /cors", "Origin: http://other.test\r\n"),
        plain("cors asked before", "OPTIONS /cors", asks),
        plain("cors asked before, of fields", "OPTIONS /cors", &format!("{asks}Access-Control-Request-Headers: x\r\n")),
        plain("timeout", "GET /timeout", ""),
        with_body("timeout not reached", "POST /timeout", "", "text"),
        plain("own field", "GET /set/own", ""),
        plain("propagated field", "GET /propagated", "X-Trace: 7\r\n"),
        plain("sensitive field", "GET /sensitive", "Authorization: Basic x\r\n"),
        plain("accepted", "GET /accepts", "Accept: application/json\r\n"),
        plain("not accepted", "GET /accepts", "Accept: text/html\r\n"),
    ]);
}

#[test]
fn files() {
    let range = |range: &str| format!("Range: bytes={range}\r\n");
    let modified = "Sun, 09 Sep 2001 01:46:40 GMT";
    let since = |name: &str, date: &str| format!("{name}: {date}\r\n");
    Both::start().compare(&[
        plain("file", "GET /files/text.txt", ""),
        plain("file head", "HEAD /files/text.txt", ""),
        plain("file alone", "GET /file", ""),
        plain("file empty", "GET /files/empty.txt", ""),
        plain("file none", "GET /files/none.txt", ""),
        plain("file none with a page for it", "GET /files-or/none.txt", ""),
        plain("folder", "GET /files/sub/", ""),
        plain("folder without its slash", "GET /files/sub", ""),
        plain("folder without an index", "GET /files/", ""),
        plain("file outside", "GET /files/..%2Fother", ""),
        plain("file outside by dots", "GET /files/../../other", ""),
        plain("file posted to", "POST /files/text.txt", "Content-Length: 0\r\n"),
        plain("file packed", "GET /files/packed.txt", "Accept-Encoding: gzip\r\n"),
        plain("file not packed", "GET /files/packed.txt", ""),
        plain("range", "GET /files/text.txt", &range("10-19")),
        plain("range head", "HEAD /files/text.txt", &range("10-19")),
        plain("range to the end", "GET /files/text.txt", &range("3990-")),
        plain("range from the end", "GET /files/text.txt", &range("-10")),
        plain("range beyond", "GET /files/text.txt", &range("5000-")),
        plain("range bad", "GET /files/text.txt", &range("x")),
        plain("ranges", "GET /files/text.txt", &range("0-1,4-5")),
        plain("range of nothing", "GET /files/empty.txt", &range("0-1")),
        plain("modified since", "GET /files/text.txt", &since("If-Modified-Since", "Sat, 08 Sep 2001 01:46:40 GMT")),
        plain("not modified since", "GET /files/text.txt", &since("If-Modified-Since", modified)),
        plain("not modified since head", "HEAD /files/text.txt", &since("If-Modified-Since", modified)),
        plain("unmodified since", "GET /files/text.txt", &since("If-Unmodified-Since", modified)),
        plain(
            "not unmodified since",
            "GET /files/text.txt",
            &since("If-Unmodified-Since", "Sat, 08 Sep 2001 01:46:40 GMT"),
        ),
    ]);
}
