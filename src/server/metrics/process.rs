//! What every exporter tells of its process, under the names that all of them use.

use super::text::{Kind, Writer};

/// As the kernel has it.
struct Process {
    resident_bytes: u64,
    virtual_bytes: u64,
    cpu_seconds: f64,
    threads: u64,
    open_descriptors: u64,
}

/// The families of the process; without samples where the kernel doesn't say.
pub(super) fn write(page: &mut Writer, started_seconds: f64) {
    let found = Process::of_this();
    let found = found.as_ref();
    let mut gauge = |name, help, value: Option<u64>| {
        let page = page.family(name, Kind::Gauge, help);
        if let Some(value) = value {
            page.sample(&[], value);
        }
    };
    gauge(
        "process_resident_memory_bytes",
        "Resident memory of the process.",
        found.map(|process| process.resident_bytes),
    );
    gauge(
        "process_virtual_memory_bytes",
        "Virtual memory of the process.",
        found.map(|process| process.virtual_bytes),
    );
    gauge("process_open_fds", "Open file descriptors.", found.map(|process| process.open_descriptors));
    let max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    gauge("process_max_fds", "File descriptors that the process may open.", max);
    gauge("process_threads", "Threads of the process.", found.map(|process| process.threads));
    page.family("process_start_time_seconds", Kind::Gauge, "When the process began, since the Unix epoch.")
        .sample(&[], started_seconds);
    let cpu = page.family(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time of the process, its own and the kernel's for it.",
    );
    if let Some(process) = found {
        cpu.sample(&[], process.cpu_seconds);
    }
}

// === impl Process ===

impl Process {
    /// From `/proc`, which is memory and no disk; `None` where there is none.
    fn of_this() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let page_bytes = rustix::param::page_size() as u64;
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let open_descriptors = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Self::parse(&stat, page_bytes, ticks_per_second, open_descriptors)
    }

    /// The name of the program, second and in parentheses, may have anything in it: fields are counted behind it.
    fn parse(stat: &str, page_bytes: u64, ticks_per_second: u64, open_descriptors: u64) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // As proc(5) numbers them; the first behind the name is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            resident_bytes: field(24)?.saturating_mul(page_bytes),
            virtual_bytes: field(23)?,
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks_per_second as f64,
            threads: field(20)?,
            open_descriptors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let stat = "7 (lar) d er) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12345 1048576 256 18446744073709551615";
        let process = Process::parse(stat, 4096, 100, 12).expect("a stat");
        assert_eq!((process.resident_bytes, process.virtual_bytes), (1 << 20, 1 << 20));
        assert_eq!((process.cpu_seconds, process.threads), (3.0, 9));
    }
}
