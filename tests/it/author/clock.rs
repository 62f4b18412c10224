//! Rules about time, tried by their author at a time of his.

use super::*;

/// A rule about time, tried at a time of the author's: for a call in words and for an input document.
#[tokio::test]
async fn a_window_of_time_is_tried_by_hand() {
    let home = Home::new();
    let scope = "{ scope: crm/create_refund, hours: { from: \"09:00\", to: \"17:00\", zone: Europe/Berlin }, until: 2026-12-01T00:00:00Z }";
    home.write(
        "countersign.yaml",
        &CONFIG
            .replace("\"crm/create_refund\", \"*/write\"", scope)
            .replace("policy: { paths: [policies] }", "policy: { builtin: [scopes] }"),
    );
    let call = [
        "--config",
        "countersign.yaml",
        "--server",
        "crm",
        "--tool",
        "create_refund",
        "--arguments",
        "{\"amount\":1}",
        "--principal",
        "agent",
    ];
    for (now, effect) in [
        ("2026-11-02T09:30:00Z", "allow"),
        ("2026-11-02T08:30:00+01:00", "deny"),
        ("2026-11-02T17:30:00Z", "deny"),
        ("2026-12-02T09:30:00Z", "deny"),
    ] {
        let words = [&["policy", "eval", "--now", now][..], &call].concat();
        let ran = home.run(&words).await;
        assert!(ran.out.starts_with(effect), "{now}: {ran:?}");
        let ran = home.run(&[&["policy", "explain", "--now", now][..], &call].concat()).await;
        assert!(ran.out.starts_with(effect), "{now}: {ran:?}");
    }
    let hours = include_str!("../../../policies/cookbook/hours.rego");
    home.write("policies/hours.rego", hours);
    home.write("policies/data.yaml", "hours: { zone: UTC }\n");
    home.write("hours.yaml", CONFIG);
    let input = json!({"version": 1, "now": 0, "phase": "call", "big": 12345678901234567890_u64, "operation": {"class": "write"}});
    home.write("input.json", &input.to_string());
    for command in ["eval", "explain"] {
        for (now, closed) in [("2026-11-02T09:30:00Z", false), ("2026-11-01T09:30:00Z", true)] {
            let words =
                ["policy", command, "--input", "input.json", "--config", "hours.yaml", "--now", now, "-o", "json"];
            let ran = home.run(&words).await;
            let said: Value = serde_json::from_str(&ran.out).unwrap();
            let decision = said.get("decision").unwrap_or(&said);
            let rules = decision["rules"].as_array().unwrap();
            assert_eq!(rules.iter().any(|rule| rule["rule"] == "hours.closed"), closed, "{command} {now}: {rules:?}");
        }
    }
    for odd in ["tomorrow", "1969-01-01T00:00:00Z"] {
        assert_eq!(home.run(&[&["policy", "eval", "--now", odd][..], &call].concat()).await.code, 2, "{odd}");
    }
}
