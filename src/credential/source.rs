//! Where a key comes from: an environment variable, a file, a command, the keyring, the store of our own.
//!
//! A key that does not look usable is refused here, before anything connects with it: an empty or cut-off key would
//! reach the upstream as an unauthenticated call, and one with a line end would end a header.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::keyring::{self, Item, KeyringError};
use super::scrub::Scrubber;
use super::secret::Secret;
use super::shape;
use super::trust::{self, Readers, TrustError};

/// Fewer characters than this can be guessed, and would be found by chance in texts that are scrubbed.
pub const MIN_LENGTH: usize = 8;
/// Private keys and long tokens fit.
pub const MAX_LENGTH: usize = 16 << 10;
/// What repeats itself like this is no key, and would make every text of that character slow to scrub.
const MIN_DISTINCT: usize = 4;
/// How long a command may take to print a key.
const COMMAND_TIME: Duration = Duration::from_secs(10);
/// How much of a command's stderr an error shows.
const SHOWN: usize = 2 << 10;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// Name of a variable of the daemon. The value stays in the daemon's environment for as long as it runs (children
    /// get an environment of their own); a file or a command leaves no such copy.
    Env(String),
    /// Owner and mode are checked.
    File(PathBuf),
    /// stdout without its last line end is the key.
    Command {
        argv: Vec<String>,
        /// Variables of the daemon that the program gets besides `PATH` and `HOME`.
        inherit: Vec<String>,
    },
    /// A file that `countersign secret set` writes; the rules of [`File`](Self::File) hold for it.
    Stored(PathBuf),
    /// Whatever runs in the session can read it there.
    Keyring(Item),
}

/// Why there is no key. `name` is the name of the secret; no variant holds any of its text.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("secret `{name}`: the environment variable {variable} is not set; export it before countersign starts")]
    Unset { name: String, variable: String },
    #[error("secret `{name}`: {error}; {}", .error.help())]
    File { name: String, error: TrustError },
    #[error("secret `{name}`: nothing is stored under this name; store it: countersign secret set {name}")]
    NotStored { name: String },
    #[error("secret `{name}`: {error}; {}", .error.help())]
    Program { name: String, error: TrustError },
    #[error("secret `{name}`: {error}; {}", .error.help())]
    Keyring { name: String, error: KeyringError },
    #[error("secret `{name}`: its command cannot be run: {error}")]
    Start { name: String, error: std::io::Error },
    #[error(
        "secret `{name}`: its command did not end within {} s; run it by hand to see whether it waits for input",
        COMMAND_TIME.as_secs()
    )]
    Time { name: String },
    #[error("secret `{name}`: its command failed ({status}){}", said(.stderr))]
    Failed { name: String, status: ExitStatus, stderr: String },
    #[error("secret `{name}`: {unfit}")]
    Unfit { name: String, unfit: Unfit },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(" and said: {stderr}") }
}

/// Why a text is not taken as a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    #[error("it is empty")]
    Empty,
    #[error("it has fewer than {MIN_LENGTH} characters, so it can be guessed")]
    Short,
    #[error("it has fewer than {MIN_DISTINCT} different characters, so it is a placeholder and no key")]
    Repeats,
    #[error("it has more than {MAX_LENGTH} bytes, so it is probably something else")]
    Long,
    #[error(
        "it has a line end, tab or other control character: only its last line end is taken off, and only a private key in PEM has lines"
    )]
    Control,
    #[error("it begins like a file in PEM and is not a whole private key")]
    Pem,
    #[error("it has a character that is not ASCII")]
    NotAscii,
    #[error("it starts or ends with a space")]
    Space,
}

/// Reads one key.
///
/// # Errors
/// Where it cannot be had or cannot be a key. The text names the secret and what to do, and shows nothing of it.
pub async fn resolve(name: &str, source: &SecretSource) -> Result<Secret, SecretError> {
    let text = match source {
        SecretSource::Env(variable) => environment(name, variable)?,
        SecretSource::File(path) => file(name, path)?,
        SecretSource::Command { argv, inherit } => command(name, argv, inherit).await?,
        SecretSource::Stored(path) => match file(name, path) {
            Err(SecretError::File { error: TrustError::Missing(_), .. }) => {
                return Err(SecretError::NotStored { name: name.to_owned() });
            }
            read => read?,
        },
        SecretSource::Keyring(item) => {
            let mut text =
                keyring::get(item).await.map_err(|error| SecretError::Keyring { name: name.to_owned(), error })?;
            trim_line_end(&mut text);
            text
        }
    };
    accept(text).map_err(|unfit| SecretError::Unfit { name: name.to_owned(), unfit })
}

/// Reads all keys, and says everything that is wrong with them at once.
///
/// # Errors
/// One for every secret that cannot be had.
pub async fn resolve_all(
    sources: &BTreeMap<String, SecretSource>,
) -> Result<BTreeMap<String, Secret>, Vec<SecretError>> {
    let mut secrets = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, source) in sources {
        match resolve(name, source).await {
            Ok(secret) => drop(secrets.insert(name.clone(), secret)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(secrets) } else { Err(errors) }
}

fn environment(name: &str, variable: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let value = std::env::var_os(variable)
        .ok_or_else(|| SecretError::Unset { name: name.to_owned(), variable: variable.to_owned() })?;
    Ok(Zeroizing::new(value.into_encoded_bytes()))
}

fn file(name: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let mut text = trust::read(path, Readers::OwnerOnly, MAX_LENGTH + 2)
        .map_err(|error| SecretError::File { name: name.to_owned(), error })?;
    trim_line_end(&mut text);
    Ok(text)
}

/// Runs without a shell, in a process group of its own, with nothing in its environment but `PATH`, `HOME` and what is
/// to be inherited.
async fn command(name: &str, argv: &[String], inherit: &[String]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let owned = || name.to_owned();
    let (program, args) = argv.split_first().map_or(("", argv), |(program, args)| (program.as_str(), args));
    let path = std::env::var_os("PATH");
    let program =
        trust::find_command(program, path.as_deref()).map_err(|error| SecretError::Program { name: owned(), error })?;
    let mut command = Command::new(program);
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true).current_dir("/");
    for kept in ["PATH", "HOME"].into_iter().chain(inherit.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    let mut child = command.spawn().map_err(|error| SecretError::Start { name: owned(), error })?;
    let mut group = Group(child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())));
    let ended = tokio::time::timeout(COMMAND_TIME, finish(&mut child)).await;
    let overflow = |unfit| SecretError::Unfit { name: owned(), unfit };
    let (status, mut stdout, stderr) = match ended {
        Ok(Ok(Some(ended))) => {
            group.0 = None;
            ended
        }
        unfinished => {
            drop(group);
            _ = child.wait().await;
            return Err(match unfinished {
                Ok(Err(error)) => SecretError::Start { name: owned(), error },
                Ok(Ok(_)) => overflow(Unfit::Long),
                Err(_) => SecretError::Time { name: owned() },
            });
        }
    };
    trim_line_end(&mut stdout);
    if !status.success() {
        return Err(SecretError::Failed { name: owned(), status, stderr: shown(name, &stdout, &stderr, inherit) });
    }
    Ok(stdout)
}

/// A command that has not ended. Whatever it started ends with it, and it does when nobody waits for it any more.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

type Ended = (ExitStatus, Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// Nothing where it printed more than a key can have.
async fn finish(child: &mut Child) -> std::io::Result<Option<Ended>> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::join!(read_up_to(stdout, MAX_LENGTH + 2, false), read_up_to(stderr, SHOWN, true));
    let (Some(stdout), Some(stderr)) = (stdout?, stderr?) else { return Ok(None) };
    Ok(Some((child.wait().await?, stdout, stderr)))
}

/// Reads to the end. More than `limit` is nothing, or, where `cut`, read and thrown away.
async fn read_up_to(
    from: Option<impl AsyncRead + Unpin>,
    limit: usize,
    cut: bool,
) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut buffer = Zeroizing::new(vec![0; limit + 1]);
    let mut filled = 0;
    let Some(mut from) = from else { return Ok(Some(Zeroizing::new(Vec::new()))) };
    loop {
        let count = from.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        filled += count;
        if filled > limit {
            if !cut {
                return Ok(None);
            }
            filled = limit;
        }
        if count == 0 {
            buffer.truncate(filled);
            return Ok(Some(buffer));
        }
    }
}

/// What a command said, without the key that it may have said and without what it inherited, in one line without control
/// characters.
fn shown(name: &str, stdout: &[u8], stderr: &[u8], inherit: &[String]) -> String {
    let key = Secret::new(String::from_utf8_lossy(stdout).into_owned());
    let text = Zeroizing::new(String::from_utf8_lossy(stderr).into_owned());
    let values = inherit.iter().filter_map(|name| Some((name.as_str(), Secret::new(std::env::var(name).ok()?))));
    let (inherited, mut short): (Vec<_>, Vec<_>) = values
        .filter(|(_, value)| !value.expose().is_empty())
        .partition(|(_, value)| value.expose().len() >= MIN_LENGTH);
    // One of them may be a part of another.
    short.sort_by_key(|(_, value): &(&str, Secret)| std::cmp::Reverse(value.expose().len()));
    let known = inherited.iter().map(|(name, value)| (*name, value)).chain([(name, &key)]);
    let mut scrubbed = Scrubber::new(known).line(&text).into_owned();
    // What is too short to be looked for in every spelling goes as it is spelled.
    for (name, value) in &short {
        scrubbed = Zeroizing::new(std::mem::take(&mut scrubbed)).replace(value.expose(), &format!("[secret:{name}]"));
    }
    let visible: String = shape::mask(scrubbed.trim()).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn trim_line_end(text: &mut Zeroizing<Vec<u8>>) {
    if text.last() == Some(&b'\n') {
        text.pop();
        if text.last() == Some(&b'\r') {
            text.pop();
        }
    }
}

/// A text with at most one line end after it.
///
/// # Errors
/// Where it cannot be a key.
pub fn accept_line(mut text: Zeroizing<Vec<u8>>) -> Result<Secret, Unfit> {
    trim_line_end(&mut text);
    accept(text)
}

/// How every text in PEM begins.
const PEM: &[u8] = b"-----BEGIN ";

/// Whether a text is a private key as files have it (RFC 7468), which is the one that has lines.
fn is_pem(text: &[u8]) -> bool {
    let label = text.strip_prefix(PEM).and_then(|rest| rest.split(|byte| *byte == b'-').next());
    let title = label.filter(|label| label.ends_with(b"PRIVATE KEY") && !label.contains(&b'\n'));
    title.is_some_and(|title| text.ends_with(&[b"-----END ", title, b"-----"].concat()))
}

/// The one door from a text to a key.
///
/// # Errors
/// Where it cannot be one.
pub fn accept(mut text: Zeroizing<Vec<u8>>) -> Result<Secret, Unfit> {
    if text.is_empty() {
        return Err(Unfit::Empty);
    }
    if text.iter().any(|byte| !byte.is_ascii()) {
        return Err(Unfit::NotAscii);
    }
    let may_have_lines = is_pem(&text);
    if text.iter().any(|byte| byte.is_ascii_control() && !(may_have_lines && matches!(byte, b'\n' | b'\r'))) {
        return Err(Unfit::Control);
    }
    if text.starts_with(PEM) && !may_have_lines {
        return Err(Unfit::Pem);
    }
    if text.first() == Some(&b' ') || text.last() == Some(&b' ') {
        return Err(Unfit::Space);
    }
    if text.len() < MIN_LENGTH {
        return Err(Unfit::Short);
    }
    if text.len() > MAX_LENGTH {
        return Err(Unfit::Long);
    }
    if text.iter().collect::<std::collections::HashSet<_>>().len() < MIN_DISTINCT {
        return Err(Unfit::Repeats);
    }
    // The one buffer moves into the secret: no copy stays behind.
    String::from_utf8(std::mem::take(&mut *text)).map(Secret::new).map_err(|_| Unfit::NotAscii)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn by_command(argv: &[&str]) -> Result<Secret, SecretError> {
        by_command_with(argv, &[]).await
    }

    async fn by_command_with(argv: &[&str], inherit: &[&str]) -> Result<Secret, SecretError> {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        resolve("key", &SecretSource::Command { argv: texts(argv), inherit: texts(inherit) }).await
    }

    fn unfit(text: &str) -> Option<Unfit> {
        accept(Zeroizing::new(text.as_bytes().to_vec())).err()
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        for (text, expected) in [
            ("", Unfit::Empty),
            ("       ", Unfit::Space),
            ("sk_live_abcdefgh ", Unfit::Space),
            ("1234567", Unfit::Short),
            ("sk_live_abc\ndef", Unfit::Control),
            ("sk_live_abcdef\n", Unfit::Control),
            ("sk_live_abc\u{7f}def", Unfit::Control),
            ("sk_live_ábcdef", Unfit::NotAscii),
            ("\u{feff}sk_live_abcdef", Unfit::NotAscii),
        ] {
            assert_eq!(unfit(text), Some(expected), "{text:?}");
        }
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\r\nBCIEIA==\n-----END PRIVATE KEY-----";
        assert_eq!(unfit(pem), None, "a private key has lines");
        for odd in [
            pem.replace("MC4", "MC\t4"),
            pem.replace("END PRIVATE", "END PUBLIC"),
            format!("{pem}\nmore"),
            pem.replace("PRIVATE KEY", "CERTIFICATE"),
            pem.replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN x\nPRIVATE KEY-----"),
        ] {
            assert_eq!(unfit(&odd), Some(Unfit::Control), "{odd:?}");
        }
        assert_eq!(unfit("-----BEGIN PRIVATE KEY-----"), Some(Unfit::Pem));
        assert_eq!(unfit("xxxxxxxxxxxx"), Some(Unfit::Repeats));
        assert_eq!(unfit(&"k".repeat(MAX_LENGTH + 1)), Some(Unfit::Long));
        assert_eq!(unfit("12345678"), None);
        assert_eq!(unfit("correct horse battery"), None);
    }

    #[tokio::test]
    async fn a_variable_is_read_and_must_be_set() {
        let home = resolve("key", &SecretSource::Env("CARGO_MANIFEST_DIR".to_owned())).await.unwrap();
        assert!(home.matches(&std::env::var("CARGO_MANIFEST_DIR").unwrap()));
        let absent = resolve("key", &SecretSource::Env("COUNTERSIGN_NO_SUCH_KEY".to_owned())).await.unwrap_err();
        assert_eq!(
            absent.to_string(),
            "secret `key`: the environment variable COUNTERSIGN_NO_SUCH_KEY is not set; export it before countersign starts"
        );
    }

    #[tokio::test]
    async fn a_file_loses_one_line_end_and_must_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let source = SecretSource::File(path.clone());
        let set = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for text in ["sk_live_CANARY7Q", "sk_live_CANARY7Q\n", "sk_live_CANARY7Q\r\n"] {
            set(text, 0o600);
            assert!(resolve("key", &source).await.unwrap().matches("sk_live_CANARY7Q"), "{text:?}");
        }
        set("sk_live_CANARY7Q\n\n", 0o600);
        assert!(matches!(resolve("key", &source).await, Err(SecretError::Unfit { unfit: Unfit::Control, .. })));
        set("\n", 0o600);
        assert!(matches!(resolve("key", &source).await, Err(SecretError::Unfit { unfit: Unfit::Empty, .. })));
        set("sk_live_CANARY7Q", 0o644);
        let open = resolve("key", &source).await.unwrap_err().to_string();
        assert!(open.contains("0644") && open.contains("chmod go-rwx") && open.contains("key"), "{open}");
    }

    /// A link of ours is followed, and where it leads to is held to the same.
    #[tokio::test]
    async fn a_link_to_a_file_is_worth_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (inner, link) = (folder.path().join("inner"), folder.path().join("link"));
        let path = inner.join("key");
        std::fs::create_dir(&inner).unwrap();
        mode(&inner, 0o700);
        std::fs::write(&path, "sk_live_CANARY7Q").unwrap();
        mode(&path, 0o600);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let source = SecretSource::File(link);
        assert!(resolve("key", &source).await.unwrap().matches("sk_live_CANARY7Q"));
        let refused = async || match resolve("key", &source).await {
            Err(SecretError::File { error, .. }) => error,
            other => panic!("{other:?}"),
        };
        mode(&path, 0o640);
        assert!(matches!(refused().await, TrustError::Readable { path: found, .. } if found.ends_with("inner/key")));
        mode(&path, 0o600);
        mode(&inner, 0o770);
        assert!(matches!(refused().await, TrustError::Writable { path: found, .. } if found.ends_with("inner")));
    }

    #[tokio::test]
    async fn a_command_prints_the_key_without_a_shell() {
        assert!(by_command(&["echo", "$(id)`id`; id"]).await.unwrap().matches("$(id)`id`; id"));
    }

    #[tokio::test]
    async fn a_command_sees_path_and_home_alone() {
        let seen =
            by_command(&["sh", "-c", "env | cut -d= -f1 | grep -v -e ^_$ -e ^PWD$ -e ^SHLVL$ | sort | tr '\\n' '.'"])
                .await
                .unwrap();
        assert!(seen.matches("HOME.PATH."), "{}", seen.expose());
    }

    #[tokio::test]
    async fn a_command_sees_what_it_is_to_inherit_and_says_nothing_of_it() {
        // Every test's process has this one.
        let (name, value) = ("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(std::env::var(name).as_deref(), Ok(value));
        let script = format!("printf %s \"${name}-${{CARGO_PKG_NAME-none}}\"");
        let seen = by_command_with(&["sh", "-c", &script], &[name, "COUNTERSIGN_NOT_SET"]).await.unwrap();
        assert!(seen.matches(&format!("{value}-none")), "{}", seen.expose());
        let script = format!("echo \"not with ${name}\" >&2; exit 1");
        let failed = by_command_with(&["sh", "-c", &script], &[name]).await.unwrap_err().to_string();
        assert!(failed.ends_with("said: not with [secret:CARGO_MANIFEST_DIR]"), "{failed}");
        // One that is too short to be a key.
        let (name, value) = ("CARGO_PKG_VERSION_MAJOR", env!("CARGO_PKG_VERSION_MAJOR"));
        assert!(value.len() < MIN_LENGTH && std::env::var(name).as_deref() == Ok(value));
        let failed = by_command_with(&["sh", "-c", "echo \"as $CARGO_PKG_VERSION_MAJOR\" >&2; exit 1"], &[name]).await;
        let failed = failed.unwrap_err().to_string();
        assert!(failed.ends_with("said: as [secret:CARGO_PKG_VERSION_MAJOR]"), "{failed}");
    }

    #[tokio::test]
    async fn a_failing_command_is_quoted_without_the_key() {
        let script = "echo sk_weird_CANARY7Q; echo \"no vault: sk_weird_CANARY7Q\tghp_abcdefgh\" >&2; exit 3";
        let failed = by_command(&["sh", "-c", script]).await.unwrap_err().to_string();
        assert_eq!(
            failed,
            "secret `key`: its command failed (exit status: 3) and said: no vault: [secret:key] ghp_********"
        );
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_or_prints_too_much_is_refused() {
        assert!(matches!(by_command(&["countersign-no-such-program"]).await, Err(SecretError::Program { .. })));
        assert!(matches!(by_command(&[]).await, Err(SecretError::Program { .. })));
        assert!(matches!(by_command(&["yes"]).await, Err(SecretError::Unfit { unfit: Unfit::Long, .. })));
        // Much on stderr neither blocks it nor is kept.
        let noisy = by_command(&["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x >&2; echo sk_live_CANARY7Q"]).await;
        assert!(noisy.unwrap().matches("sk_live_CANARY7Q"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_hangs_ends_with_everything_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let script = format!("exec 3>'{}'; sleep 1000 & sleep 1000", pipe.display());
        // Opens when the script is there; the paused clock stands still until then.
        let opened = tokio::task::spawn_blocking(move || std::fs::File::open(pipe).unwrap());
        let argv = ["sh", "-c", &script];
        let (hanging, opened) = tokio::join!(by_command(&argv), opened);
        assert!(matches!(hanging, Err(SecretError::Time { .. })), "{hanging:?}");
        // Ends when nobody holds the other end any more.
        let rest = tokio::task::spawn_blocking(move || std::io::read_to_string(opened.unwrap()).unwrap());
        assert_eq!(rest.await.unwrap(), "");
    }

    #[tokio::test]
    async fn all_that_is_missing_is_said_at_once() {
        let sources =
            ["A", "B"].map(|name| (name.to_owned(), SecretSource::Env(format!("COUNTERSIGN_NO_SUCH_{name}"))));
        assert_eq!(resolve_all(&sources.into()).await.unwrap_err().len(), 2);
    }
}
