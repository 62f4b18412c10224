//! The record on the disk: intact, room for more, a file system that it can rely on. And the clock, by which it is
//! written.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::finding::{Finding, place, shell};
use super::ground::Ground;
use crate::audit::{self, AuditReader, Checkpoint, Record, verify};

/// How long the chain is followed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Records at the end that are looked at where the whole takes longer.
const TAIL: usize = 2000;
/// Less room than this is trouble soon, or now.
const LITTLE: u64 = 1 << 30;
const NONE: u64 = 64 << 20;
/// A log beside the database that is larger than this is not being taken up.
const WAL: u64 = 256 << 20;
/// A record is not of the future, save for what clocks are off by.
const AHEAD: SignedDuration = SignedDuration::from_secs(5);

pub fn check(ground: &Ground) -> Vec<Finding> {
    let Some(config) = &ground.config else { return Vec::new() };
    let db = config.state_dir.join("audit.db");
    let mut found = Vec::new();
    if db.exists() {
        found.extend(chain(&db, PATIENCE, &ground.with_config("countersign audit verify")));
        let wal = db.with_extension("db-wal").metadata().map_or(0, |wal| wal.len());
        if wal > WAL {
            let text = format!("audit.db-wal has {} MiB and does not shrink", wal >> 20);
            found.push(Finding::warning(place(&db), text).run("end what reads audit.db, and start the daemon again"));
        }
    } else {
        found.push(Finding::note(place(&db), "there is no record yet"));
    }
    found.extend(disk(&config.state_dir));
    found
}

/// Whole, as far as it can be followed in time.
fn chain(db: &Path, patience: Duration, command: &str) -> Option<Finding> {
    let (to, from) = std::sync::mpsc::channel();
    let path = db.to_owned();
    // It ends with the process, where nobody waits for it any more.
    std::thread::spawn(move || to.send(verify::log(&path, None)));
    let at = place(db);
    let broken = |why: String| Some(Finding::problem(&at, format!("the record is not intact: {why}")).run(command));
    match from.recv_timeout(patience) {
        Ok(Ok(report)) => match (report.problem, report.checkpoint) {
            (Some(problem), _) => broken(problem.to_string()),
            (None, Some(Checkpoint { seq, .. })) => {
                Some(Finding::ok(at, format!("intact, from the first record to number {seq}")))
            }
            (None, None) => Some(Finding::ok(at, "intact, no records")),
        },
        Ok(Err(error)) => {
            let text = error.to_string();
            Some(Finding::problem(at, text.lines().next().unwrap_or_default()).run(command))
        }
        Err(_) => match tail(db, patience) {
            Ok((true, count)) => {
                let text = format!("the last {count} records are intact; all of them take longer to look at");
                Some(Finding::note(at, text).run(command))
            }
            Ok((false, count)) => broken(format!("something among the last {count} records was changed")),
            Err(error) => broken(error),
        },
    }
}

/// Whether the last records follow one another, and how many were looked at.
fn tail(db: &Path, patience: Duration) -> Result<(bool, usize), String> {
    let (until, log) = (Instant::now() + patience, AuditReader::open(db).map_err(|error| error.to_string())?);
    let (mut intact, mut count) = (true, 0);
    let mut newer: Option<Record> = None;
    let read = log.scan_back(u64::MAX >> 1, |record| {
        let follows = newer.as_ref().is_none_or(|newer| newer.seq == record.seq + 1 && newer.prev == record.hash);
        intact &= follows && record.computed() == record.hash;
        newer = Some(record);
        count += 1;
        count < TAIL && Instant::now() < until
    });
    read.map(|()| (intact, count)).map_err(|error| error.to_string())
}

fn disk(folder: &Path) -> Vec<Finding> {
    // It may not be there yet: then what is above it counts.
    let Some(there) = folder.ancestors().find(|folder| folder.exists()) else { return Vec::new() };
    let free = rustix::fs::statvfs(there).map(|stat| room(there, stat.f_bavail.saturating_mul(stat.f_frsize)));
    let far = network(there).map(|name| {
        let text = format!("it lies on {name}: locks and syncs cannot be relied on there");
        Finding::problem(place(folder), text).run("set state_dir to a folder of a local disk")
    });
    free.into_iter().chain(far).collect()
}

/// The file system of others' machines that a folder lies on.
#[cfg(target_os = "linux")]
fn network(folder: &Path) -> Option<&'static str> {
    let stat = rustix::fs::statfs(folder).ok()?;
    numbered(i128::from(stat.f_type) as u64 & 0xffff_ffff)
}

/// As `mount` names it: its lines are `SOURCE on FOLDER (KIND, ...)`.
#[cfg(not(target_os = "linux"))]
fn network(folder: &Path) -> Option<&'static str> {
    let mounts = super::run::output(&["/sbin/mount"], &[])?;
    mounted(&mounts, &folder.canonicalize().ok()?)
}

#[cfg(any(test, not(target_os = "linux")))]
fn mounted(mounts: &str, folder: &Path) -> Option<&'static str> {
    let line = |line: &str| {
        let (on, kind) = line.rsplit_once(" (")?;
        let (_, at) = on.split_once(" on ")?;
        let kind = kind.split([',', ')']).next()?.to_owned();
        folder.starts_with(at).then_some((at.len(), kind))
    };
    let (_, kind) = mounts.lines().filter_map(line).max_by_key(|(length, _)| *length)?;
    match kind.as_str() {
        "nfs" => Some("NFS"),
        "smbfs" => Some("SMB"),
        "afpfs" => Some("AFP"),
        "webdav" => Some("WebDAV"),
        kind if kind.contains("fuse") => Some("FUSE"),
        _ => None,
    }
}

fn room(folder: &Path, free: u64) -> Finding {
    let found = |level: fn(String, String) -> Finding| {
        level(place(folder), format!("{} MiB are free: without room for a record nothing is sent", free >> 20))
            .run(format!("df -h {}", shell(folder)))
    };
    match free {
        0..NONE => found(Finding::problem),
        NONE..LITTLE => found(Finding::warning),
        LITTLE.. => Finding::ok(place(folder), format!("{} GiB are free", free >> 30)),
    }
}

/// By the numbers of `statfs(2)`.
#[cfg(target_os = "linux")]
fn numbered(kind: u64) -> Option<&'static str> {
    match kind {
        0x6969 => Some("NFS"),
        0x517b | 0xfe53_4d42 | 0xff53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9P"),
        0x00c3_6400 => Some("Ceph"),
        0x5346_414f => Some("AFS"),
        0x6573_5546 => Some("FUSE"),
        _ => None,
    }
}

/// The clock against the last record: what is valid when, and what expires, hangs on it.
pub fn clock(ground: &Ground) -> Vec<Finding> {
    let mut found = Vec::new();
    let last = ground.config.as_ref().and_then(|config| last(&config.state_dir.join("audit.db")));
    if let Some((at, up_ms)) = last {
        found.push(against(Timestamp::now(), audit::uptime_ms(), at, up_ms));
    } else {
        found.push(Finding::ok("", "there is no record to hold it against"));
    }
    found.extend(synchronised(timedatectl()));
    found
}

fn last(db: &Path) -> Option<(Timestamp, u64)> {
    let mut last = None;
    let log = AuditReader::open(db).ok()?;
    log.scan_back(u64::MAX >> 1, |record| {
        last = record.at.parse().ok().map(|at| (at, record.up_ms));
        false
    })
    .ok()?;
    last
}

#[cfg(target_os = "linux")]
const SET_CLOCK: &str = "sudo timedatectl set-ntp true";
#[cfg(not(target_os = "linux"))]
const SET_CLOCK: &str = "sudo sntp -sS pool.ntp.org";

/// A machine cannot have been started earlier than it was when it wrote the record: then its clock was set back.
fn against(now: Timestamp, up_ms: u64, at: Timestamp, at_up_ms: u64) -> Finding {
    let set = SET_CLOCK;
    let back = at.duration_since(now);
    if back > AHEAD {
        let text = format!("the clock is {} s behind the last record, of {at}", back.as_secs());
        return Finding::problem("", text).run(set);
    }
    let started = |at: Timestamp, up: u64| at - SignedDuration::from_millis(i64::try_from(up).unwrap_or(0));
    let earlier = started(at, at_up_ms).duration_since(started(now, up_ms));
    if earlier > AHEAD {
        let text = format!("the clock was set back by {} s after the last record", earlier.as_secs());
        return Finding::warning("", text).run(set);
    }
    Finding::ok("", format!("{} after the last record", words(now.duration_since(at))))
}

fn words(time: SignedDuration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// What systemd says about synchronisation; nothing where it is not there.
fn timedatectl() -> Option<bool> {
    let argv = ["/usr/bin/timedatectl", "show", "--property=NTPSynchronized", "--value"];
    match super::run::output(&argv, &[])?.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn synchronised(said: Option<bool>) -> Option<Finding> {
    match said {
        Some(true) => Some(Finding::ok("", "synchronised with a time server")),
        Some(false) => {
            let text = "not synchronised with a time server: expiry and validity of signatures follow this clock";
            Some(Finding::note("", text).run(SET_CLOCK))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn room_is_judged_by_how_much_there_is() {
        let level = |free| room(Path::new("/"), free).level;
        assert_eq!([level(1 << 20), level(512 << 20), level(8 << 30)], [Level::Problem, Level::Warning, Level::Ok]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!((numbered(0x6969), numbered(0xef53)), (Some("NFS"), None));
    }

    #[test]
    fn network_file_systems_are_known_by_their_names() {
        let mounts = "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n\
                      /dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled)\n\
                      //ada@nas/home on /Volumes/nas (smbfs, nodev, nosuid, mounted by ada)\n\
                      files:/srv on /Volumes/my (odd) files (nfs)\n";
        let kind = |folder| mounted(mounts, Path::new(folder));
        assert_eq!([kind("/Users/ada"), kind("/Volumes/nas/state"), kind("/Volumes/nasty")], [None, Some("SMB"), None]);
        assert_eq!(kind("/Volumes/my (odd) files/state"), Some("NFS"));
    }

    #[test]
    fn a_clock_that_went_back_is_found() {
        let at: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let later = |seconds| at + SignedDuration::from_secs(seconds);
        let hour = 3_600_000;
        assert_eq!(against(later(60), hour + 60_000, at, hour).level, Level::Ok);
        assert_eq!(against(later(-60), hour, at, hour).level, Level::Problem);
        // An hour has passed by the machine's count, and a minute by the clock.
        let set_back = against(later(60), 2 * hour, at, hour);
        assert_eq!(set_back.level, Level::Warning);
        assert!(set_back.text.contains("3540 s"), "{}", set_back.text);
        // Started again in between.
        assert_eq!(against(later(600), 1000, at, hour).level, Level::Ok);
        assert_eq!(synchronised(Some(false)).unwrap().level, Level::Note);
        assert_eq!(synchronised(None), None);
    }
}
