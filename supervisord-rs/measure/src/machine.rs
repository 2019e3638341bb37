//! What the figures were taken on: times depend on it.

use std::fs::read_to_string;

use serde::{Deserialize, Serialize};

use crate::pinning::Cpus;

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, as it calls itself.
    pub processor: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Processors that the machine has.
    pub cpus_online: usize,
    /// `x86_64`.
    pub architecture: String,
    /// The caches of the first processor, from the nearest on: `L1d 48K`.
    pub caches: Vec<String>,
    /// Bytes of memory.
    pub memory: u64,
    /// `uname -s -r`.
    pub kernel: String,
    /// Whether it is a virtual machine: wake-ups of other processors cost more there.
    pub is_virtual: bool,
    /// The timer's tick, in nanoseconds; `None`: it does not bound slices, or is not known.
    pub tick: Option<u64>,
    /// Whether cycles and cache misses can be counted; `None`: yes, else why not.
    pub no_counters: Option<String>,
    /// Whether the program was compiled with optimization: without, its own code is slow.
    pub is_optimized: bool,
    /// The load of the last minute when the measurement began, beside it: others disturb.
    pub load: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn of(cpus: &Cpus) -> Self {
        let kernel = nix::sys::utsname::uname();
        let (kernel, architecture) = kernel.map_or_else(
            |_| ("unknown".to_owned(), "unknown".to_owned()),
            |name| {
                let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
                (format!("{} {}", text(name.sysname()), text(name.release())), text(name.machine()))
            },
        );
        let about = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let load = read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: processor(&about),
            cpus: cpus.count(),
            cpus_online: about.lines().filter(|line| line.starts_with("processor")).count(),
            architecture,
            caches: caches(cpus.all().first().copied().unwrap_or(0)),
            memory: memory(&read_to_string("/proc/meminfo").unwrap_or_default()),
            kernel,
            is_virtual: about.lines().any(|line| {
                line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor")
            }),
            tick: workers::runtime::scheduling::tick()
                .and_then(|tick| u64::try_from(tick.as_nanos()).ok()),
            no_counters: counters().err(),
            is_optimized: !cfg!(debug_assertions),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// What it is, in one sentence without its end.
    #[must_use]
    pub fn description(&self) -> String {
        let virtually = if self.is_virtual { ", a virtual machine" } else { "" };
        let used = if self.cpus == self.cpus_online {
            plural(self.cpus, "CPU")
        } else {
            format!("{} of {}", self.cpus, plural(self.cpus_online, "CPU"))
        };
        let caches = if self.caches.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.caches.join(", "))
        };
        let memory = crate::words::shown(self.memory as f64, crate::figures::Unit::Bytes);
        format!(
            "{used} {}{caches}, {memory}, {}, {}{virtually}; load {} at the beginning",
            self.processor, self.architecture, self.kernel, self.load
        )
    }

    /// Whether others wanted the processors when the measurement began.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        // A process that wants a CPU all the time is a load of 1.
        self.load.parse().is_ok_and(|load: f64| load > 0.5 * self.cpus as f64)
    }

    /// What it is, and what that does to the figures.
    #[must_use]
    pub fn sentence(&self) -> String {
        let slow = if self.is_optimized {
            ""
        } else {
            " Compiled without optimization: the figures of the product's own code are too high."
        };
        let busy = if self.is_busy() {
            " Others wanted the CPUs too: figures of several workers at once (scalability, \
             parallelism, time-slicing) are what was left for them."
        } else {
            ""
        };
        format!("{}.{busy}{slow}", self.description())
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// x86 has `model name`; others have `Model`, `cpu` or nothing.
fn processor(about: &str) -> String {
    let value = |key: &str| {
        let line = about.lines().find(|line| {
            line.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case(key))
        })?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    ["model name", "model", "cpu", "cpu part"]
        .into_iter()
        .find_map(value)
        .unwrap_or_else(|| "of an unknown kind".to_owned())
}

fn memory(about: &str) -> u64 {
    let line = about.lines().find(|line| line.starts_with("MemTotal:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

fn caches(cpu: usize) -> Vec<String> {
    let text = |index: usize, name: &str| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/cache/index{index}/{name}");
        read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    let cache = |index| {
        let kind = match text(index, "type")?.as_str() {
            "Data" => "d",
            "Instruction" => return Some(None),
            _ => "",
        };
        Some(Some(format!("L{}{kind} {}", text(index, "level")?, text(index, "size")?)))
    };
    (0..8).map_while(cache).flatten().collect()
}

/// Asks for the number of cycles, as `perf` does.
pub(crate) fn counters() -> Result<(), String> {
    /// `struct perf_event_attr`, its first version (perf_event_open(2)), and flags.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        kind: u32,
        size: u32,
        config: u64,
        sample: [u64; 3],
        flags: u64,
        rest: [u64; 2],
    }
    /// `PERF_FLAG_FD_CLOEXEC`.
    const CLOSE_ON_EXEC: libc::c_ulong = 8;
    // Bits of `flags`: 5 leaves out the kernel, 6 the hypervisor, which takes fewer rights.
    let size = u32::try_from(size_of::<Attributes>()).expect("64");
    let attributes = Attributes { size, flags: 3 << 5, ..Attributes::default() };
    // SAFETY: nix has no wrapper. The kernel reads the structure, which has the size that it says,
    // and returns a descriptor or an error.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, 0, -1, -1, CLOSE_ON_EXEC)
    };
    if fd >= 0 {
        // SAFETY: the descriptor was made above, and nothing else knows of it.
        unsafe { libc::close(libc::c_int::try_from(fd).expect("a descriptor")) };
        return Ok(());
    }
    let error = nix::errno::Errno::last();
    Err(match error {
        nix::errno::Errno::ENOENT | nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENODEV => {
            "there is no performance monitoring unit here, as in most virtual machines".to_owned()
        }
        nix::errno::Errno::EACCES | nix::errno::Errno::EPERM => {
            "not permitted: see /proc/sys/kernel/perf_event_paranoid".to_owned()
        }
        error => format!("perf_event_open: {}", error.desc()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_of_several_architectures_have_a_name() {
        assert_eq!(
            processor("processor\t: 0\nmodel name\t: Fast 9000\nmodel\t\t: 3\n"),
            "Fast 9000"
        );
        assert_eq!(processor("processor : 0\nCPU part : 0xd0c\n"), "0xd0c");
        assert_eq!(processor(""), "of an unknown kind");
    }

    #[test]
    fn this_machine_has_a_processor_memory_and_a_kernel() {
        let cpus = Cpus::of_this_process().expect("processors");
        let machine = Machine::of(&cpus);
        assert!(machine.cpus >= 1 && machine.cpus_online >= machine.cpus, "{machine:?}");
        assert!(machine.memory > 1 << 20 && machine.kernel.starts_with("Linux"), "{machine:?}");
        assert!(machine.sentence().contains("CPU"), "{}", machine.sentence());
        let busy = |load: &str| {
            let machine = Machine { load: load.to_owned(), cpus: 2, ..machine.clone() };
            machine.sentence().contains("Others wanted the CPUs too")
        };
        assert!(busy("9.37") && !busy("0.20") && !busy(""));
    }
}
