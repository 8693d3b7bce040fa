//! An nginx that serves the paths of the showcase that loads ask for: one worker, no privileges, a folder of its own.
//!
//! What is not the same: a body is answered at once, thrown away as it comes, and not echoed; slow things are asked of
//! an [`Upstream`], which costs it a second descriptor for each; `/bytes/N` is a file of 1 GB, whatever N is.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::upstream::Upstream;
use super::{Limits, Row};
use crate::folder::Folder;
use crate::pace::pause;
use crate::ports::free_port;
use crate::server::wait_within;

const READY_WAIT_MAX: Duration = Duration::from_secs(5);
const STOP_WAIT_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Descriptors that are none of its connections'.
const DESCRIPTORS_APART: u32 = 20;

/// One that serves, until it is dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    _upstream: Upstream,
    _folder: Folder,
}

impl Nginx {
    /// Starts one as a load needs it, with no more descriptors than `descriptors_max`.
    ///
    /// # Errors
    /// When it is not installed, or does not come to serve.
    pub fn start(row: &Row, descriptors_max: u32) -> Result<Self, String> {
        let told = |error: std::io::Error| error.to_string();
        let descriptors = match row.limits {
            Limits::Inherited | Limits::SmallHost => descriptors_max,
            Limits::Descriptors(_, full) => full,
        };
        let (folder, upstream) = (Folder::new(), Upstream::start().map_err(told)?);
        row.write_files(folder.root()).map_err(told)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = folder.outside().join("nginx.conf");
        fs::write(&config, configuration(address, &upstream, folder.outside(), descriptors)).map_err(told)?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-e").arg(folder.outside().join("error.log")).arg("-p").arg(folder.outside()).arg("-c").arg(&config);
        let child = nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(told)?;
        let mut nginx = Self { child, address, _upstream: upstream, _folder: folder };
        nginx.wait_until_ready()?;
        Ok(nginx)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_WAIT_MAX;
        while TcpStream::connect(self.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("nginx did not start: {status}"));
            }
            if Instant::now() >= deadline {
                return Err(format!("nginx does not listen after {READY_WAIT_MAX:?}"));
            }
            pause(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if wait_within(&mut self.child, STOP_WAIT_MAX).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn configuration(address: SocketAddr, upstream: &Upstream, folder: &Path, descriptors: u32) -> String {
    let (folder, slow, connections) = (folder.display(), upstream.address, descriptors - DESCRIPTORS_APART);
    format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile {descriptors}; pid {folder}/nginx.pid;
        events {{ worker_connections {connections}; }}
        http {{
            access_log off; keepalive_requests 1000000000; client_max_body_size 0; sendfile on;
            client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
            uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
            server {{
                listen {address} backlog=4096; root {folder}/root;
                location = /plaintext {{ return 200 'Hello, World!'; }}
                location = /upload {{ return 200 'taken'; }}
                location = /take {{ return 200 'taken'; }}
                location = /echo {{ return 200 'taken'; }}
                location = /trailers {{ return 200 'trailers'; }}
                location /file/ {{ alias {folder}/root/; }}
                location /bytes/ {{ rewrite ^ /long.bin break; }}
                location /hang {{ proxy_pass http://{slow}; }}
                location /slow/ {{ proxy_pass http://{slow}; }}
                location /work/ {{ proxy_pass http://{slow}; }}
                location /drip/ {{ proxy_pass http://{slow}; proxy_http_version 1.1; proxy_buffering off; }}
                location = /upgrade {{
                    proxy_pass http://{slow}; proxy_http_version 1.1;
                    proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade;
                }}
            }}
        }}\n"
    )
}
