//! Users and groups of this machine, as the C library knows them: `/etc/passwd` and `/etc/group`, and whatever else
//! `/etc/nsswitch.conf` names (LDAP, SSSD, systemd-homed), when the binary is linked to the system's C library. One
//! that is linked statically to musl knows the two files only.
//!
//! A look-up may ask the network: never on a thread that serves.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long an answer is remembered: a build opens hundreds of connections, and who has left a group is out soon.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Users who came by; more than a machine has are not remembered.
const REMEMBERED_MAX: usize = 1024;

/// Who belongs to one of some groups.
#[derive(Debug)]
pub(super) struct Members {
    groups: Vec<u32>,
    /// A leaf mutex.
    known: Mutex<HashMap<u32, (Instant, bool)>>,
}

/// The id of the user of this name.
pub fn user_id(name: &str) -> Option<u32> {
    // A name with a zero byte is nobody's, and more than C can ask for.
    if name.contains('\0') {
        return None;
    }
    uzers::get_user_by_name(name).map(|user| user.uid())
}

/// The id of the group of this name.
pub fn group_id(name: &str) -> Option<u32> {
    if name.contains('\0') {
        return None;
    }
    uzers::get_group_by_name(name).map(|group| group.gid())
}

// === impl Members ===

impl Members {
    pub(super) fn of(groups: Vec<u32>) -> Self {
        Self { groups, known: Mutex::default() }
    }

    /// Whether the user's own group or another that the user is in is one of them.
    pub(super) async fn has(&self, uid: u32) -> bool {
        if self.groups.is_empty() {
            return false;
        }
        let known = self.known.lock().get(&uid).copied();
        if let Some((asked, is_member)) = known
            && asked.elapsed() < REMEMBERED
        {
            return is_member;
        }
        // A look-up that panicked lets nobody in.
        let found = tokio::task::spawn_blocking(move || groups_of(uid)).await.unwrap_or_default();
        let is_member = found.iter().any(|group| self.groups.contains(group));
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(uid, (Instant::now(), is_member));
        is_member
    }
}

/// The groups of a user, the own one first; none of one that nobody knows.
fn groups_of(uid: u32) -> Vec<u32> {
    let Some(user) = uzers::get_user_by_uid(uid) else { return Vec::new() };
    let own = user.primary_group_id();
    let others = uzers::get_user_groups(user.name(), own).unwrap_or_default();
    std::iter::once(own).chain(others.iter().map(|group| group.gid())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_strange_ones_are_not() {
        assert_eq!((user_id("root"), group_id("root").is_some()), (Some(0), cfg!(target_os = "linux")));
        for nobody in ["nobody-of-that-name", "", "ro\0ot"] {
            assert_eq!((user_id(nobody), group_id(nobody)), (None, None), "{nobody:?}");
        }
    }

    #[tokio::test]
    async fn a_user_is_a_member_of_its_own_group() {
        let own = groups_of(0);
        assert!(own.contains(&0), "{own:?}");
        let members = Members::of(vec![0]);
        assert!(members.has(0).await);
        assert!(members.has(0).await, "from memory, too");
        assert!(!members.has(4_000_000_000).await, "whom nobody knows is in no group");
        assert!(!Members::of(Vec::new()).has(0).await);
    }
}
