//! Sockets: the system calls that are refused. Landlock has no word for the unix sockets of others below ABI 9, and
//! none for sockets that reach a TCP port by another name.
//!
//! Invariant: nobody can take a filter off again, and whatever the child starts has it too.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::{Network, Profile};

/// What this program was built for.
pub const ARCH: Result<TargetArch, &str> = if cfg!(target_arch = "x86_64") {
    Ok(TargetArch::x86_64)
} else if cfg!(target_arch = "aarch64") {
    Ok(TargetArch::aarch64)
} else {
    Err("there is no filter for this processor")
};

/// The second set of numbers that an x86-64 kernel may answer to.
const X32: i64 = 0x4000_0000;

const UNIX: u64 = libc::AF_UNIX as u64;
const INET: u64 = libc::AF_INET as u64;
const INET6: u64 = libc::AF_INET6 as u64;
/// How a program asks which addresses and routes there are.
const NETLINK: u64 = libc::AF_NETLINK as u64;
const TCP: u64 = libc::IPPROTO_TCP as u64;
const UDP: u64 = libc::IPPROTO_UDP as u64;

/// Filters this thread and whatever comes from it.
///
/// # Errors
/// What cannot be done, in words.
pub fn restrict(profile: &Profile) -> Result<(), String> {
    let program = program(profile)?;
    seccompiler::apply_filter(&program).map_err(|error| format!("seccomp: {error}"))
}

fn program(profile: &Profile) -> Result<BpfProgram, String> {
    let failed = |error: seccompiler::BackendError| format!("seccomp: {error}");
    let mut rules = BTreeMap::new();
    // These make sockets and connections by another door, or read keys that the kernel keeps for the account.
    for call in [libc::SYS_io_uring_setup, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key] {
        rules.insert(call, Vec::new());
    }
    rules.insert(libc::SYS_socket, sockets(profile).map_err(failed)?);
    if !profile.unix_sockets {
        rules.insert(
            libc::SYS_socketpair,
            vec![pair(libc::SOCK_DGRAM), pair(libc::SOCK_RAW)].into_iter().collect::<Result<_, _>>().map_err(failed)?,
        );
    }
    if profile.network != Network::Any {
        // Data in the first packet: a connection that no port rule sees.
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            let fast = libc::MSG_FASTOPEN as u64;
            let bit = SeccompCondition::new(flags, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(fast), fast);
            rules.insert(call, vec![bit.and_then(|bit| SeccompRule::new(vec![bit])).map_err(failed)?]);
        }
        // A socket that listens without a name gets a port that no rule sees.
        if !profile.unix_sockets {
            rules.insert(libc::SYS_listen, Vec::new());
        }
    }
    // A list without a rule in it means any.
    rules.retain(|call, rules| *call != libc::SYS_socket || !rules.is_empty());
    if cfg!(target_arch = "x86_64") {
        let again: Vec<_> = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
        rules.extend(again);
    }
    let refused = SeccompAction::Errno(libc::EACCES as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, ARCH?).map_err(failed)?;
    filter.try_into().map_err(failed)
}

/// One end of a pair of datagrams can send to any path; a pair of streams has its other end for good.
fn pair(kind: libc::c_int) -> Result<SeccompRule, seccompiler::BackendError> {
    // The bits above are flags.
    let kind = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(0xf), kind as u64)?;
    SeccompRule::new(vec![kind])
}

/// Each rule names sockets that are refused.
fn sockets(profile: &Profile) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let family = |op, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value);
    let protocol = |value| SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value);
    // Which families there are beside the local ones, and which protocols of theirs.
    let (versions, protocols): (&[u64], &[u64]) = match &profile.network {
        Network::Any => {
            let unix = (!profile.unix_sockets).then(|| SeccompRule::new(vec![family(SeccompCmpOp::Eq, UNIX)?]));
            return unix.into_iter().collect();
        }
        Network::Ports(ports) if ports.is_empty() => (&[], &[]),
        Network::Ports(_) => (&[INET, INET6], &[0, TCP, UDP]),
        Network::Only(_) => (&[INET], &[0, TCP]),
    };
    let mut families = vec![NETLINK];
    families.extend(profile.unix_sockets.then_some(UNIX));
    families.extend(versions);
    let other = families.iter().map(|known| family(SeccompCmpOp::Ne, *known)).collect::<Result<Vec<_>, _>>()?;
    let mut rules = vec![SeccompRule::new(other)?];
    for version in versions {
        let mut named = vec![family(SeccompCmpOp::Eq, *version)?];
        for known in protocols {
            named.push(protocol(*known)?);
        }
        rules.push(SeccompRule::new(named)?);
    }
    if let Network::Only(_) = &profile.network {
        // There is no word for "another kind": each of those that fit below the flags is named.
        for kind in (0..16).filter(|kind| *kind != libc::SOCK_STREAM as u64) {
            let kind = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(0xf), kind)?;
            rules.push(SeccompRule::new(vec![family(SeccompCmpOp::Eq, INET)?, kind])?);
        }
    }
    Ok(rules)
}
