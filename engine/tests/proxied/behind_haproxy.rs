//! A real proxy that sends headers: haproxy, where it is installed.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ringress::{Mode, Properties, ProxyProtocol};

use super::{loopback_network, serving};
use crate::common::{Client, wait_until};

/// haproxy in front of an engine, ended when dropped.
struct Haproxy {
    child: Child,
    configuration: PathBuf,
    address: SocketAddr,
}

impl Haproxy {
    /// Forwards connections to `server` as `options` say.
    fn start(server: SocketAddr, options: &str) -> Self {
        // Its own port cannot be asked for: one is looked for, and tried.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a free port");
        let configuration =
            std::env::temp_dir().join(format!("ringress-haproxy-{}-{}", std::process::id(), address.port()));
        let text = format!(
            "global\n    maxconn 100\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 20s\n    \
            timeout server 20s\nfrontend front\n    bind {address}\n    default_backend back\nbackend back\n    server \
            one {server} {options}\n"
        );
        std::fs::write(&configuration, text).expect("a temporary folder");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&configuration).stdout(Stdio::null()).stderr(Stdio::inherit());
        let child = command.spawn().expect("haproxy starts");
        wait_until("haproxy listens", || std::net::TcpStream::connect(address).is_ok());
        Self { child, configuration, address }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = std::fs::remove_file(&self.configuration);
    }
}

fn is_installed() -> bool {
    let version = Command::new("haproxy").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_installed = version.is_ok_and(|status| status.success());
    if !is_installed {
        eprintln!("skipped: haproxy is not installed");
    }
    is_installed
}

#[test]
fn the_client_is_haproxys_client_in_both_versions_of_the_header() {
    if !is_installed() {
        return;
    }
    for mode in [Mode::Queue, Mode::Colocated] {
        for options in ["send-proxy", "send-proxy-v2 proxy-v2-options unique-id,crc32c"] {
            serving(mode, (loopback_network(), ProxyProtocol::Required), Properties::new(), |_, address| {
                let haproxy = Haproxy::start(address, options);
                let mut client = Client::connect(haproxy.address);
                let own = client.stream.local_addr().expect("connected");
                let want = format!("{own} 127.0.0.1 {} -|127.0.0.1", haproxy.address);
                assert_eq!(client.ask("/").text(), want, "{options}");
                assert_eq!(client.ask("/").text(), want, "{options}, once more");
            });
        }
    }
}

#[test]
fn health_checks_of_haproxys_are_its_own_connections() {
    if !is_installed() {
        return;
    }
    serving(Mode::Queue, (loopback_network(), ProxyProtocol::Required), Properties::new(), |engine, address| {
        let haproxy = Haproxy::start(address, "send-proxy-v2 check check-send-proxy inter 100ms");
        wait_until("it has checked a few times", || engine.counters().connections_accepted >= 4);
        let mut client = Client::connect(haproxy.address);
        assert!(client.ask("/").text().starts_with(&client.stream.local_addr().expect("connected").to_string()));
        assert_eq!((engine.counters().proxy_headers_missing, engine.counters().proxy_headers_malformed), (0, 0));
    });
}
