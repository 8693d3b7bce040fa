//! Real proxies that send headers: haproxy, and nginx with its stream module, where they are installed.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ringress::{Mode, Properties, ProxyProtocol};

use super::{loopback_network, serving};
use crate::common::{Client, wait_until};

/// A proxy in front of an engine, ended when dropped.
struct Proxy {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Proxy {
    /// Has `command` run with a configuration that `text` makes of the address it is to listen on and of its folder.
    fn start(command: impl FnOnce(&Path) -> Command, text: impl FnOnce(SocketAddr, &Path) -> String) -> Self {
        // Its own port cannot be asked for: one is looked for, and tried.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a free port");
        let folder = std::env::temp_dir().join(format!("ringress-proxy-{}-{}", std::process::id(), address.port()));
        std::fs::create_dir(&folder).expect("a temporary folder");
        let configuration = folder.join("configuration");
        std::fs::write(&configuration, text(address, &folder)).expect("a temporary folder");
        let mut command = command(&configuration);
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("the proxy starts");
        wait_until("the proxy listens", || std::net::TcpStream::connect(address).is_ok());
        Self { child, folder, address }
    }

    /// haproxy, which forwards connections to `server` as `options` say.
    fn haproxy(server: SocketAddr, options: &str) -> Self {
        let command = |configuration: &Path| {
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(configuration);
            command
        };
        Self::start(command, |address, _| {
            format!(
                "global\n    maxconn 100\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 20s\n    \
                timeout server 20s\nfrontend front\n    bind {address}\n    default_backend back\nbackend back\n    \
                server one {server} {options}\n"
            )
        })
    }

    /// nginx, whose stream module forwards connections to `server` with a header of version 1.
    fn nginx(server: SocketAddr, stream_module: &Path) -> Self {
        let command = |configuration: &Path| {
            let mut command = Command::new("nginx");
            command.arg("-c").arg(configuration).args(["-g", "daemon off;"]);
            command
        };
        Self::start(command, |address, folder| {
            let (module, pid) = (stream_module.display(), folder.join("pid"));
            format!(
                "load_module {module};\npid {};\nerror_log stderr crit;\nmaster_process off;\nevents {{}}\nstream {{\n \
                server {{\n        listen {address};\n        proxy_pass {server};\n        proxy_protocol on;\n    \
                }}\n}}\n",
                pid.display()
            )
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = std::fs::remove_dir_all(&self.folder);
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

/// The module of nginx, which distributions pack by itself.
fn stream_module() -> Option<PathBuf> {
    let places = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];
    let module =
        places.map(|place| Path::new(place).join("ngx_stream_module.so")).into_iter().find(|path| path.exists());
    if module.is_none() {
        eprintln!("skipped: nginx's stream module is not installed");
    }
    module
}

#[test]
fn the_client_is_haproxys_client_in_both_versions_of_the_header() {
    if !is_installed() {
        return;
    }
    for mode in [Mode::Queue, Mode::Colocated] {
        for options in ["send-proxy", "send-proxy-v2 proxy-v2-options unique-id,crc32c"] {
            serving(mode, (loopback_network(), ProxyProtocol::Required), Properties::new(), |_, address| {
                let haproxy = Proxy::haproxy(address, options);
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
        let haproxy = Proxy::haproxy(address, "send-proxy-v2 check check-send-proxy inter 100ms");
        wait_until("it has checked a few times", || engine.counters().connections_accepted >= 4);
        let mut client = Client::connect(haproxy.address);
        assert!(client.ask("/").text().starts_with(&client.stream.local_addr().expect("connected").to_string()));
        assert_eq!((engine.counters().proxy_headers_missing, engine.counters().proxy_headers_malformed), (0, 0));
    });
}

#[test]
fn the_client_is_nginxs_client() {
    let Some(module) = stream_module() else { return };
    for mode in [Mode::Queue, Mode::Colocated] {
        serving(mode, (loopback_network(), ProxyProtocol::Required), Properties::new(), |engine, address| {
            let nginx = Proxy::nginx(address, &module);
            let mut client = Client::connect(nginx.address);
            let own = client.stream.local_addr().expect("connected");
            let want = format!("{own} 127.0.0.1 {} -|127.0.0.1", nginx.address);
            assert_eq!(client.ask("/").text(), want);
            assert_eq!(client.ask("/").text(), want, "once more");
            assert_eq!(engine.counters().proxy_headers_malformed, 0);
        });
    }
}
