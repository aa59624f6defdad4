//! What is written as a fault.

use super::*;

#[test]
fn what_is_written_is_what_is_meant() {
    for text in [
        "kill stateless @5s",
        "stop-process a-lb @+1s 500ms",
        "exec:ssh root@a reboot @5s",
        "freeze a-lb for 3s @every 20s",
        "cut b for 5s @10s",
        "heal b @+1s",
        "stop-manager a for 2s @every 1m",
        "kill a-lb @6s overlap",
        "exec:cut a undo:heal a for 2s @random 5s overlap",
        "replace stateless @random 1m",
        "exec:for i in 1; do cut a; done undo:heal a for 2s @5s",
        "exec:cut a undo:for i in 1; do heal a; done @5s",
    ] {
        assert_eq!(text.parse::<FaultSpec>().unwrap().to_string(), text);
    }
    let spec: FaultSpec = "exec:ssh root@a reboot @+250ms".parse().unwrap();
    assert_eq!(spec.what, What::Command { command: "ssh root@a reboot".to_owned(), undo: None });
    assert_eq!(spec.when, When::AfterRecovery(Duration::from_millis(250)));
    let spec: FaultSpec = "exec:cut a undo:heal a for 2s @5s".parse().unwrap();
    assert_eq!(spec.lasts, Some(Duration::from_secs(2)));
    for (virsh, ours) in [("suspend a for 1s", "freeze a for 1s"), ("resume a", "thaw a")] {
        let parsed = |what: &str| format!("{what} @1s").parse::<FaultSpec>().unwrap();
        assert_eq!(parsed(virsh), parsed(ours));
    }
    assert_eq!("destroy a @1s".parse::<FaultSpec>().unwrap(), "kill a @1s".parse().unwrap());
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_is_expected() {
    for (text, reason) in [
        ("kill stateless", "no @TIME"),
        ("kill stateless @soon", "`soon` is no time"),
        ("kill stateless @5", "`5` is no time"),
        ("kill stateless @every 0s", "no time above 0"),
        ("kill stateless for 3s @5s", "only a freeze"),
        ("cut b @5s", "say for how long"),
        ("stop-manager b @5s", "say for how long"),
        ("heal b for 1s @5s", "only a freeze"),
        ("kill a @+1s overlap", "waits for the faults before"),
        ("maim stateless @5s", "`maim` is no fault"),
        ("freze stateless @5s", "did you mean `freeze`?"),
        ("kill @5s", "expected"),
        ("exec: @5s", "no command"),
        ("exec:a undo: @5s", "no command"),
    ] {
        let error = text.parse::<FaultSpec>().unwrap_err();
        assert!(error.contains(reason) && error.contains("expected \"kill|freeze"), "{text}: {error}");
    }
}
