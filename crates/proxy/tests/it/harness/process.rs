//! The program as a process, within limits that a shell sets.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

/// A process that serves. Dropped, it is killed.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    output: Arc<Mutex<String>>,
    listeners: Vec<JoinHandle<()>>,
}

/// The program: `FAULTS_BINARY`, or the one that was built with the tests.
#[allow(clippy::disallowed_methods)] // chooses what is tested
fn binary() -> String {
    std::env::var("FAULTS_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_bedrock-proxy").to_owned())
}

/// `bedrock-proxy` in `home` with nothing but these variables, after `limits`, which are words of a shell.
pub(crate) fn command(home: &Path, limits: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{limits}\nexec \"$0\" \"$@\""), &binary()]);
    command.env_clear().current_dir(home).env("LOG_OUTPUT", "stdout").envs(variables.iter().copied());
    command
}

impl Process {
    /// Starts one and returns when it listens.
    pub(crate) fn start(home: &Path, limits: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = command(home, limits, variables);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let errors = listen(child.stderr.take().unwrap(), &output);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            let length = lines.read_line(&mut line).unwrap();
            assert!(length > 0, "it does not start: {}", output.lock().unwrap());
            output.lock().unwrap().push_str(&line);
            let json: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = json["address"].as_str() {
                break address.parse().unwrap();
            }
        };
        let lines = listen(lines, &output);
        Self { child, address, output, listeners: vec![errors, lines] }
    }

    /// Everything that it has written so far.
    pub(crate) fn output_text(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Sends it a signal, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("/bin/sh")
            .args(["-c", r#"kill "$@""#, "kill"])
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; everything that it has written.
    pub(crate) fn end(&mut self) -> String {
        self.child.wait().unwrap();
        for listener in self.listeners.drain(..) {
            listener.join().unwrap();
        }
        self.output_text()
    }

    /// Memory in use, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Largest memory in use so far, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// A number of `/proc/<id>/status`, in bytes.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        #[allow(clippy::print_stderr)] // for whoever looks at the test that failed
        if std::thread::panicking() {
            let output = self.output_text();
            let tail: Vec<_> = output.lines().rev().take(10).collect();
            eprintln!("it wrote last (newest first):\n{}", tail.join("\n"));
        }
    }
}

/// Writes down what comes from `pipe`, until it is closed, so that it never fills.
fn listen(pipe: impl Read + Send + 'static, output: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            output.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
