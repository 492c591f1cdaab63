//! Ends what an exec left behind, through the host's own process table: the engine has no call for it.
//!
//! Never touches a process outside the container: its control group must name the container.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs;

/// Kills the process an exec started, with its session (every exec begins one). `false` when the process is not of
/// that container, or cannot be seen from here.
pub fn kill_exec(pid: i64, container_id: &str) -> bool {
    let Some(leader) = i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw) else { return false };
    if !belongs_to(pid, container_id) {
        return false;
    }
    for member in session_members(pid, container_id) {
        let _ = kill_process(member, Signal::KILL);
    }
    let _ = kill_process_group(leader, Signal::KILL);
    kill_process(leader, Signal::KILL).is_ok()
}

fn belongs_to(pid: i64, container_id: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    container_id.len() == 64 && groups.contains(container_id)
}

/// Each is asked for its control group once more: a session says nothing about whose a process is.
fn session_members(leader: i64, container_id: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            session_of(&stat) == Some(leader) && belongs_to((*pid).into(), container_id)
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// The session in a line of `/proc/PID/stat`: `pid (name) state ppid pgrp session`. The name may hold anything.
fn session_of(stat: &str) -> Option<i64> {
    stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read_past_any_name() {
        assert_eq!(session_of("12 (sh) S 1 10 9 0 -1"), Some(9));
        assert_eq!(session_of("12 (a) b (c) S 1 10 9 0 -1"), Some(9));
        assert_eq!(session_of(""), None);
        assert_eq!(session_of("12 (sh"), None);
    }

    #[test]
    fn a_stranger_is_not_killed() {
        let me = i64::from(std::process::id());
        assert!(!kill_exec(me, &"ab".repeat(32)));
        assert!(!kill_exec(me, ""));
        assert!(!kill_exec(0, &"ab".repeat(32)));
        assert!(!kill_exec(-5, &"ab".repeat(32)));
    }
}
