//! What a server takes: processor time of its whole process tree, memory; and on which cores who runs. Linux only;
//! elsewhere there are no such figures.

use std::time::Duration;

use super::instructions::Instructions;
use crate::error::Error;

/// Whether this system tells.
pub(super) const IS_THERE: bool = cfg!(target_os = "linux");

/// Memory and processor time of a process and its children.
#[derive(Debug)]
pub(super) struct Meter {
    processes: Vec<Clock>,
    /// Of processes that have ended.
    ended: Duration,
    root: u32,
    instructions: Option<Instructions>,
}

#[derive(Debug)]
struct Clock {
    pid: u32,
    last: Duration,
}

impl Meter {
    /// For the process with this id.
    ///
    /// # Errors
    /// When there is none, or this system does not tell.
    pub(super) fn new(pid: u32) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Config(format!("--pid {pid}: {why}"));
        if !IS_THERE {
            return Err(wrong("processor times of others are known on Linux only"));
        }
        if system::cpu(pid).is_none() {
            return Err(wrong("there is no such process here, or it is not yours"));
        }
        let mut meter = Self {
            processes: Vec::new(),
            ended: Duration::ZERO,
            root: pid,
            instructions: None,
        };
        meter.look_for_children();
        let processes = meter.processes.iter();
        let threads: Vec<_> = processes.flat_map(|it| system::threads(it.pid)).collect();
        meter.instructions = Instructions::of(&threads);
        Ok(meter)
    }

    /// Finds processes that were started meanwhile.
    pub(super) fn look_for_children(&mut self) {
        for pid in system::tree(self.root) {
            if self.processes.iter().all(|clock| clock.pid != pid) {
                self.processes.push(Clock {
                    pid,
                    last: Duration::ZERO,
                });
            }
        }
    }

    /// Processor time so far, user and kernel, of all threads.
    pub(super) fn cpu(&mut self) -> Duration {
        let ended = &mut self.ended;
        self.processes.retain_mut(|clock| {
            let now = system::cpu(clock.pid);
            match now {
                Some(now) => clock.last = now,
                None => *ended += clock.last,
            }
            now.is_some()
        });
        self.ended
            + self
                .processes
                .iter()
                .map(|clock| clock.last)
                .sum::<Duration>()
    }

    /// Instructions so far, where somebody counts them.
    pub(super) fn instructions(&mut self) -> Option<u64> {
        self.instructions.as_mut()?.count()
    }

    /// Memory that it has now. What processes share is counted for each of them.
    pub(super) fn rss_bytes(&self) -> u64 {
        let processes = self.processes.iter();
        processes
            .filter_map(|clock| system::rss_bytes(clock.pid))
            .sum()
    }

    /// Waits until it has done what was left to do: it takes next to no time any more.
    pub(super) fn settle(&mut self) {
        const LOOK: Duration = Duration::from_millis(50);
        const LOOKS_MAX: u32 = 100;
        let mut before = self.cpu();
        for _ in 0..LOOKS_MAX {
            std::thread::sleep(LOOK);
            let now = self.cpu();
            if now.saturating_sub(before) < LOOK / 50 {
                return;
            }
            before = now;
        }
    }

    /// Has it run on the core of servers.
    pub(super) fn pin(&mut self, cores: &Cores) -> Result<(), Error> {
        self.processes
            .iter()
            .try_for_each(|clock| cores.pin_server(clock.pid))
    }
}

/// Processor time of the benchmark itself.
pub(super) fn own_cpu() -> Duration {
    system::own_cpu()
}

/// Who runs where: servers on one core, the benchmark on the others.
#[derive(Debug)]
pub(super) struct Cores {
    server: usize,
    own: Vec<usize>,
}

impl Cores {
    /// Takes the first core for servers, and moves the benchmark to the others.
    ///
    /// # Errors
    /// When there are no two.
    pub(super) fn divide() -> Result<Self, Error> {
        let all = system::cores();
        let [server, own @ ..] = &*all else {
            return Err(Error::Config(
                "--pin: this system does not tell its cores".into(),
            ));
        };
        if own.is_empty() {
            return Err(Error::Config(
                "--pin: there is one core only; leave it out".into(),
            ));
        }
        let cores = Self {
            server: *server,
            own: own.to_vec(),
        };
        for thread in system::threads(std::process::id()) {
            system::pin(thread, &cores.own).map_err(refused)?;
        }
        Ok(cores)
    }

    /// Does something whose processes will run on the core of servers.
    pub(super) fn on_servers_core<T>(&self, start: impl FnOnce() -> T) -> Result<T, Error> {
        // A process begins where the thread runs that starts it.
        system::pin(0, &[self.server]).map_err(refused)?;
        let started = start();
        system::pin(0, &self.own).map_err(refused)?;
        Ok(started)
    }

    fn pin_server(&self, pid: u32) -> Result<(), Error> {
        let mut threads = system::threads(pid).into_iter();
        threads.try_for_each(|thread| system::pin(thread, &[self.server]).map_err(refused))
    }
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::Config(format!("--pin: {why}"))
}

#[cfg(target_os = "linux")]
mod system {
    use std::collections::HashMap;
    use std::fs;
    use std::time::Duration;

    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::time::ClockId;
    use nix::unistd::Pid;

    /// Linux gives out no greater id.
    const PID_MAX: u32 = 1 << 22;

    pub fn cpu(pid: u32) -> Option<Duration> {
        // The clock of a greater one is that of another: the id is shifted until it fits.
        if pid > PID_MAX {
            return None;
        }
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32)).ok()?;
        Some(Duration::from(clock.now().ok()?))
    }

    pub fn own_cpu() -> Duration {
        let now = ClockId::CLOCK_PROCESS_CPUTIME_ID.now();
        now.map_or(Duration::ZERO, Duration::from)
    }

    pub fn rss_bytes(pid: u32) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes = line.trim().strip_suffix(" kB")?;
        Some(kilobytes.parse::<u64>().ok()? * 1024)
    }

    /// The process and those it has started, and they.
    pub fn tree(root: u32) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for pid in numbers("/proc") {
            if let Some(parent) = parent(pid) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut found = vec![root];
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            found.extend(children.remove(pid).unwrap_or_default());
            next += 1;
        }
        found
    }

    fn parent(pid: u32) -> Option<u32> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Its name is in parentheses, and may have some in it.
        let (_, fields) = text.rsplit_once(')')?;
        fields.split_whitespace().nth(1)?.parse().ok()
    }

    pub fn threads(pid: u32) -> Vec<u32> {
        numbers(&format!("/proc/{pid}/task"))
    }

    fn numbers(folder: &str) -> Vec<u32> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        names.collect()
    }

    pub fn cores() -> Vec<usize> {
        let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
            return Vec::new();
        };
        let is_in = |core: &usize| set.is_set(*core).unwrap_or(false);
        (0..CpuSet::count()).filter(is_in).collect()
    }

    /// 0 is this thread.
    pub fn pin(thread: u32, cores: &[usize]) -> Result<(), String> {
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core).map_err(|error| error.to_string())?;
        }
        sched_setaffinity(Pid::from_raw(thread as i32), &set).map_err(|error| {
            format!("the system does not let us choose the core of a process: {error}")
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    pub fn cpu(_: u32) -> Option<Duration> {
        None
    }

    pub fn own_cpu() -> Duration {
        Duration::ZERO
    }

    pub fn rss_bytes(_: u32) -> Option<u64> {
        None
    }

    pub fn tree(_: u32) -> Vec<u32> {
        Vec::new()
    }

    pub fn threads(_: u32) -> Vec<u32> {
        Vec::new()
    }

    pub fn cores() -> Vec<usize> {
        Vec::new()
    }

    pub fn pin(_: u32, _: &[usize]) -> Result<(), String> {
        Ok(())
    }
}
