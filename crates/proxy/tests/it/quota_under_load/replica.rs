//! One process of the program, which can be killed and started again on the same data.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::harness::SECRET;
use crate::harness::tokens::KEY;

/// A process that serves. Dropped, it is killed.
pub(super) struct Replica {
    data: PathBuf,
    variables: Vec<(String, String)>,
    child: Child,
    pub(super) address: SocketAddr,
    /// Its log lines, for when a test fails.
    log: Arc<Mutex<Vec<String>>>,
}

impl Replica {
    /// Starts one with its own directory in `home` and returns when it listens.
    pub(super) fn start(home: &Path, name: &str, bedrock: &str, variables: &[(&str, &str)]) -> Self {
        let data = home.join(name);
        std::fs::create_dir_all(&data).unwrap();
        let base = [
            ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
            ("AWS_BEDROCK_SECRET_KEY", SECRET),
            ("AWS_ENDPOINT_URL", bedrock),
            ("JWT_SECRET_KEY", KEY),
            ("PORT", "0"),
            ("LOG_OUTPUT", "stdout"),
        ];
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let variables: Vec<_> = base.iter().chain(variables).map(own).collect();
        let (child, address, log) = listen(&data, &variables);
        Self { data, variables, child, address, log }
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on another port.
    pub(super) fn revive(&mut self) {
        (self.child, self.address, self.log) = listen(&self.data, &self.variables);
    }

    /// Sends it a signal, such as `-TERM`.
    pub(super) fn signal(&self, signal: &str) {
        let sent = Command::new("/bin/sh")
            .args(["-c", r#"kill "$@""#, "kill"])
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, which has to come soon.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        for _ in 0..3000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not end: {}", self.complaints());
    }

    /// How many sockets it has open.
    pub(super) fn sockets(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().flatten();
        let links = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }

    /// How many lines its journal has.
    pub(super) fn journal(&self) -> usize {
        let segments = std::fs::read_dir(self.data.join("data/journal")).unwrap().flatten();
        let texts = segments.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "jsonl"));
        texts.map(|entry| std::fs::read_to_string(entry.path()).unwrap().lines().count()).sum()
    }

    /// The memory that it occupies, in bytes.
    pub(super) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }

    /// The last of its log lines above the level info.
    pub(super) fn complaints(&self) -> String {
        let log = self.log.lock().unwrap();
        let lines = log
            .iter()
            .filter(|line| !line.contains("\"info\"") && !line.contains("Bedrock returned an error"));
        lines.rev().take(5).cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{} logged:\n{}", self.data.display(), self.complaints());
        }
    }
}

fn listen(data: &Path, variables: &[(String, String)]) -> (Child, SocketAddr, Arc<Mutex<Vec<String>>>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-proxy"));
    command.env_clear().current_dir(data).env("DATA_DIR", data.join("data"));
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut early = Vec::new();
    let address = loop {
        let Some(Ok(line)) = lines.next() else { panic!("it does not start: {early:?}") };
        let json: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = json["address"].as_str() {
            break address.parse().unwrap();
        }
        early.push(line);
    };
    let log = Arc::new(Mutex::new(early));
    let listener = Arc::clone(&log);
    // Ends with the process, whose pipe it reads so that it never fills.
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            listener.lock().unwrap().push(line);
        }
    });
    (child, address, log)
}
