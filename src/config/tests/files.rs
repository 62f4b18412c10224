//! Which files are read, and which are not because others could change them.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn a_file_is_found_in_the_documented_order() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).join("countersign/countersign.yaml");
    for name in ["xdg", "home/.config", "etc"] {
        std::fs::create_dir_all(place(name).parent().unwrap()).unwrap();
    }
    let path = |name: &str| Some(folder.path().join(name).into_os_string());
    let everything = |name: &str| match name {
        "COUNTERSIGN_CONFIG" => path("named.yaml"),
        "XDG_CONFIG_HOME" => path("xdg"),
        "HOME" => path("home"),
        _ => None,
    };
    let (etc, no_name) =
        (folder.path().join("etc"), |name: &str| (name != "COUNTERSIGN_CONFIG").then(|| everything(name)).flatten());
    let home_alone = |name: &str| (name == "HOME").then(|| path("home")).flatten();
    assert!(
        matches!(find(None, &etc, &no_name), Err(ConfigError::NotFound(places)) if places == [place("xdg"), place("etc")])
    );
    write(place("etc"), "").unwrap();
    assert_eq!(find(None, &etc, &no_name).unwrap(), place("etc"));
    write(place("home/.config"), "").unwrap();
    assert_eq!(find(None, &etc, &home_alone).unwrap(), place("home/.config"));
    // The home's is not looked for where another folder is named.
    assert_eq!(find(None, &etc, &no_name).unwrap(), place("etc"));
    // A link to nothing is there, and is then an error: the next place must not stand in for it.
    std::os::unix::fs::symlink("nothing", place("xdg")).unwrap();
    assert_eq!(find(None, &etc, &no_name).unwrap(), place("xdg"));
    assert!(matches!(load(Some(&place("xdg"))), Err(ConfigError::File(TrustError::Missing(_)))));
    assert_eq!(find(None, &etc, &everything).unwrap(), folder.path().join("named.yaml"));
    assert_eq!(find(Some(Path::new("given")), &etc, &everything).unwrap(), Path::new("given"));
    // Without any folder of the user's the system's is the only place.
    assert_eq!(find(None, &etc, &|_| None).unwrap(), place("etc"));
    assert_eq!(find(None, &etc, &|name| (name == "XDG_CONFIG_HOME").then(|| ".".into())).unwrap(), place("etc"));
}

#[test]
fn a_file_that_others_can_change_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countersign.yaml");
    let mode = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
    write(&path, GOOD).unwrap();
    mode(&path, 0o644);
    let config = load(Some(&path)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.path.as_deref(), Some(path.as_path()));
    for bits in [0o664, 0o646, 0o666] {
        mode(&path, bits);
        let error = load(Some(&path)).unwrap_err();
        assert!(matches!(&error, ConfigError::File(TrustError::Writable { .. })), "{error}");
        let shown = error.to_string();
        assert!(
            shown.contains(&format!("mode 0{bits:o}")) && shown.contains("help: ") && shown.contains("chmod go-w"),
            "{shown}"
        );
    }
    mode(&path, 0o600);
    mode(folder.path(), 0o777);
    assert!(matches!(load(Some(&path)), Err(ConfigError::File(TrustError::Writable { .. }))));
    mode(folder.path(), 0o700);

    write(&path, "version: 1\n# \u{e9}".to_owned().replace('\u{e9}', "")).unwrap();
    std::fs::write(&path, b"version: 1\n# \xff").unwrap();
    assert!(matches!(load(Some(&path)), Err(ConfigError::NotUtf8 { line: 2, .. })));
    write(&path, "#".repeat(MAX_BYTES + 1)).unwrap();
    assert!(matches!(load(Some(&path)), Err(ConfigError::File(TrustError::Size { .. }))));
}

#[test]
fn rules_that_others_can_change_are_refused_where_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    set_permissions(&rules, Permissions::from_mode(0o755)).unwrap();
    write(rules.join("a.rego"), "").unwrap();
    set_permissions(rules.join("a.rego"), Permissions::from_mode(0o644)).unwrap();
    let path = folder.path().join("countersign.yaml");
    let refused = |text: &str| {
        write(&path, text).unwrap();
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        match load(Some(&path)) {
            Ok(_) => None,
            Err(ConfigError::Invalid(report)) => {
                let problem = &report.problems()[0];
                Some((problem.code.as_str(), report.position(problem), problem.help.clone()))
            }
            Err(other) => panic!("{other}"),
        }
    };
    let text = and("policy: { paths: [rules] }");
    assert_eq!(refused(&text), None);
    set_permissions(rules.join("a.rego"), Permissions::from_mode(0o666)).unwrap();
    let (code, place, help) = refused(&text).unwrap();
    assert_eq!((code, place), ("C0116", (13, 19)));
    assert!(help.contains("chmod go-w") && help.contains("a.rego"), "{help}");
    assert_eq!(refused(&and("policy: { paths: [absent] }")).unwrap().0, "C0116");
    let catalog = with("    environment: production", "    environment: production\n    catalog: [absent.yaml]");
    assert_eq!(refused(&catalog).map(|(code, place, _)| (code, place)), Some(("C0116", (10, 15))));
    let cwd = upstream("{ stdio: { command: npx, cwd: countersign.yaml } }");
    assert_eq!(refused(&cwd).map(|(code, place, _)| (code, place)), Some(("C0116", (10, 45))));
    let (code, place, help) = refused(&and("operators: { allowed_signers: absent.pub }")).unwrap();
    assert_eq!((code, place), ("C0116", (13, 31)));
    assert!(help.contains("operator enroll"), "{help}");
}
