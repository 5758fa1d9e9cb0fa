//! Instructions that a process, its threads and its children execute, user and kernel. The kernel counts them where the processor
//! has counters that are to be had, for root, or for everybody where `kernel.perf_event_paranoid` is at most 1. Linux only.

#[cfg(target_os = "linux")]
pub(super) use linux::Instructions;
#[cfg(not(target_os = "linux"))]
pub(super) use none::Instructions;

#[cfg(target_os = "linux")]
mod linux {
    use nix::errno::Errno;
    use perf_event::events::{Event, Hardware};
    use perf_event::{Builder, Counter};

    /// A counter for each thread that there was. What these have started since, threads and processes, is counted by theirs.
    #[derive(Debug)]
    pub struct Instructions(Vec<Counter>);

    impl Instructions {
        /// Begins to count. None where nobody may.
        pub fn of(threads: &[u32]) -> Option<Self> {
            count(&Hardware::INSTRUCTIONS, threads).map(Self)
        }

        /// How many there were.
        pub fn count(&mut self) -> Option<u64> {
            sum(&mut self.0)
        }
    }

    fn count(what: &(impl Event + Clone), threads: &[u32]) -> Option<Vec<Counter>> {
        let mut counters = Vec::new();
        for &thread in threads {
            let mut builder = Builder::new(what.clone());
            builder.observe_pid(thread as i32).any_cpu();
            builder.inherit(true).include_kernel();
            let opened = builder.build().and_then(|mut counter| {
                counter.enable()?;
                Ok(counter)
            });
            match opened {
                Ok(counter) => counters.push(counter),
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {}
                Err(error) => {
                    tracing::debug!("cannot count instructions: {error}");
                    return None;
                }
            }
        }
        Some(counters)
    }

    fn sum(counters: &mut [Counter]) -> Option<u64> {
        counters.iter_mut().map(|counter| counter.read().ok()).sum()
    }

    #[cfg(test)]
    mod tests {
        use std::time::Duration;

        use nix::time::ClockId;
        use perf_event::events::Software;

        use super::*;

        fn cpu() -> Duration {
            let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
            now.expect("it has a clock").into()
        }

        /// With what every kernel counts, in nanoseconds.
        #[test]
        fn what_a_later_thread_does_is_counted_too() {
            let own = nix::unistd::gettid().as_raw() as u32;
            let Some(mut counters) = count(&Software::TASK_CLOCK, &[own]) else {
                eprintln!("this system does not let us count");
                return;
            };
            let before = sum(&mut counters).expect("it counts");
            let work = std::thread::spawn(|| {
                while cpu() < Duration::from_millis(50) {}
                cpu()
            });
            let took = work.join().expect("it works");
            let counted = sum(&mut counters).expect("it counts") - before;
            let counted = Duration::from_nanos(counted);
            assert!(counted >= took.mul_f64(0.9), "{counted:?} of {took:?}");
        }

        #[test]
        fn a_thread_that_has_ended_is_left_out() {
            let ended = std::thread::spawn(|| nix::unistd::gettid().as_raw() as u32);
            let ended = ended.join().expect("it ends");
            if let Some(counters) = count(&Software::TASK_CLOCK, &[ended]) {
                assert_eq!(counters.len(), 0);
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    #[derive(Debug)]
    pub struct Instructions;

    impl Instructions {
        pub fn of(_: &[u32]) -> Option<Self> {
            None
        }

        pub fn count(&mut self) -> Option<u64> {
            None
        }
    }
}
