//! The servers of a fleet: each has its port, whichever process is behind it.

use std::time::{Duration, Instant};

use crate::support::postgres::signal;
use crate::support::process::{Process, free_port};

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As a machine does.
    Killed,
    /// As a deployment does it.
    Asked,
}

pub struct Servers {
    members: Vec<Member>,
}

struct Member {
    port: u16,
    flags: Vec<String>,
    process: Process,
}

impl Servers {
    /// One after the other: each with these flags beside its own.
    pub fn start(flags: &[&str], own: &[Vec<&str>]) -> Self {
        let members = own.iter().map(|own| {
            let port = free_port();
            let flags = [flags, own].concat();
            let flags: Vec<_> = flags.into_iter().map(str::to_owned).collect();
            let process = Process::serve_on(port, &flags);
            Member {
                port,
                flags,
                process,
            }
        });
        Self {
            members: members.collect(),
        }
    }

    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<String> {
        let ports = self.members.iter().map(|member| member.port);
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Ends one, and starts it again. Returns when it is ready: how long there was none.
    pub fn restart(&mut self, number: usize, end: End) -> Duration {
        let Member {
            port,
            flags,
            process,
        } = &mut self.members[number];
        let before = Instant::now();
        match end {
            End::Killed => process.kill(),
            End::Asked => {
                signal("TERM", &[process.id()]);
                assert!(process.wait().success(), "it ends in order");
            }
        }
        *process = Process::serve_on(*port, flags);
        before.elapsed()
    }

    /// Memory that each has now.
    pub fn rss_bytes(&self) -> Vec<u64> {
        let members = self.members.iter();
        members.map(|member| member.process.rss_bytes()).collect()
    }
}
