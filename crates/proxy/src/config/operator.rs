//! Name of the operator who runs a command, for audit events.

use std::fs;

use super::dotenv;

/// Longest name that Linux allows, with room for a directory service: more is no login name.
const MAX_NAME_CHARS: usize = 128;

/// Name of the user of the operating system who runs this process, such as `cli:ana`: with sudo the user who called it,
/// else the name of the uid, or `cli:uid-1000` if the uid has no name.
#[must_use]
pub(crate) fn operator_name() -> String {
    let uid = rustix::process::getuid();
    // Another user could set the variable to any name.
    let sudo = if uid.is_root() { dotenv::lookup("SUDO_USER") } else { None };
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name(sudo.as_deref(), &users, uid.as_raw())
}

/// The name of `uid` in `users`, a text in the format of `/etc/passwd`, unless `sudo` is one.
fn name(sudo: Option<&str>, users: &str, uid: u32) -> String {
    let is_name = |name: &&str| {
        (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control)
    };
    let of_uid = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then_some(name)
    });
    match sudo.filter(is_name).or(of_uid.filter(is_name)) {
        Some(name) => format!("cli:{name}"),
        None => format!("cli:uid-{uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_is_the_user_of_the_operating_system() {
        let users = "root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\nbroken\n";
        assert_eq!(name(None, users, 1000), "cli:ana");
        assert_eq!(name(Some("ben"), users, 0), "cli:ben");
        assert_eq!(name(Some(""), users, 0), "cli:root");
        assert_eq!(name(Some("a\nb"), users, 0), "cli:root");
        assert_eq!(name(None, users, 1001), "cli:uid-1001");
        assert!(operator_name().starts_with("cli:"));
    }
}
