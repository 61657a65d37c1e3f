//! Child processes that run plugin code for this one, with limits.

use std::fmt::{self, Display, Formatter};
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The most that is kept of what a child writes to one stream.
const MAX_OUTPUT: u64 = 1 << 20;
/// How long the streams of a child that has ended are waited for; a grandchild may hold them open.
const DRAIN: Duration = Duration::from_secs(2);

/// How a child came to its end, and what it wrote.
pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// How a child came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// The system ended it with this signal.
    Signalled(i32),
    /// It was still running after its time, and was killed.
    TimedOut(Duration),
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with status {code}"),
            Self::Signalled(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was ended by {name}"),
                None => write!(f, "was ended by signal {signal}"),
            },
            Self::TimedOut(limit) => {
                write!(f, "was still running after {} ms and was killed", limit.as_millis())
            }
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    #[cfg(unix)]
    {
        Some(match signal {
            libc::SIGSEGV => "SIGSEGV (an invalid memory access)",
            libc::SIGBUS => "SIGBUS (memory that is not there)",
            libc::SIGABRT => "SIGABRT (it aborted)",
            libc::SIGILL => "SIGILL (an instruction this machine does not have)",
            libc::SIGFPE => "SIGFPE (an arithmetic fault)",
            libc::SIGTRAP => "SIGTRAP (a trap)",
            libc::SIGXCPU => "SIGXCPU (its processor time was up)",
            libc::SIGSYS => "SIGSYS (a forbidden system call)",
            libc::SIGKILL => "SIGKILL",
            libc::SIGTERM => "SIGTERM",
            _ => return None,
        })
    }
    #[cfg(not(unix))]
    {
        let _ = signal;
        None
    }
}

/// Runs a command without input, in a process group of its own, until it ends or its time is up; then all of the group is killed.
pub(super) fn run(command: &mut Command, limit: Duration) -> io::Result<Outcome> {
    run_watched(command, limit, || 0)
}

/// As [`run`], where each change of `progress` gives the child its time anew.
pub(super) fn run_watched(
    command: &mut Command,
    limit: Duration,
    progress: impl FnMut() -> u64,
) -> io::Result<Outcome> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let mut child = command.spawn()?;
    let streams = (read_in_background(child.stdout.take()), read_in_background(child.stderr.take()));
    let end = wait(&mut child, limit, progress);
    kill(&mut child);
    let end = end?;
    let collect = |stream: Receiver<Vec<u8>>| stream.recv_timeout(DRAIN).unwrap_or_default();
    Ok(Outcome { end, stdout: collect(streams.0), stderr: collect(streams.1) })
}

fn wait(child: &mut Child, limit: Duration, mut progress: impl FnMut() -> u64) -> io::Result<End> {
    let (mut begin, mut last) = (Instant::now(), progress());
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(end_of(status));
        }
        let now = progress();
        if now != last {
            (begin, last) = (Instant::now(), now);
        }
        let left = limit.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Ok(End::TimedOut(limit));
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn end_of(status: ExitStatus) -> End {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return End::Signalled(signal);
    }
    End::Exited(status.code().unwrap_or(-1))
}

/// Ends the child, what it has started, and waits for it.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    if let Ok(group) = i32::try_from(child.id()) {
        // SAFETY: the group is the child's own: `run` made it, and its number is not used again while members of it live or
        // the child has not been waited for.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn read_in_background(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
            // A child that writes more is not made to wait.
            let _ = io::copy(&mut stream, &mut io::sink());
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// Limits of a child, which it sets for itself before it runs any plugin code.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(not(unix), expect(dead_code, reason = "a child has limits on Unix alone"))]
pub(super) struct Limits {
    /// Bytes of address space.
    pub(super) memory: Option<u64>,
    /// Seconds of processor time, over all threads: a child whose parent is gone ends some time.
    pub(super) processor: Option<u64>,
}

/// Sets this process's limits; it leaves no core file, and on Linux ends with its parent.
pub(super) fn limit_this_process(limits: Limits) {
    #[cfg(unix)]
    {
        let set = |resource, value: u64| {
            let limit = libc::rlimit { rlim_cur: value as libc::rlim_t, rlim_max: value as libc::rlim_t };
            // SAFETY: `limit` is a whole structure; what the system refuses changes nothing.
            unsafe { libc::setrlimit(resource, &raw const limit) };
        };
        set(libc::RLIMIT_CORE, 0);
        #[cfg(target_os = "linux")]
        // SAFETY: it changes nothing but which signal this process is sent when the thread that waits for it is gone.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        }
        if let Some(bytes) = limits.memory {
            set(libc::RLIMIT_AS, bytes);
        }
        if let Some(seconds) = limits.processor {
            set(libc::RLIMIT_CPU, seconds);
        }
    }
    #[cfg(not(unix))]
    let _ = limits;
}

/// The last line of a child's error output but for hints about backtraces, cut to a printable length.
pub(super) fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with("note: "))
        .unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}
