//! What a file says, and what is said of one that is wrong.

use super::*;

fn read(text: &str) -> Result<Vec<String>, String> {
    let source = Source::from_text("s.toml", text);
    let scenario: Scenario = source.parse().map_err(|error| error.to_string())?;
    let faults = scenario.fault.iter().enumerate().map(|(index, fault)| {
        fault.meant().map_err(|error| source.error_in(&format!("fault[{index}]"), &error).to_string())
    });
    faults.map(|fault| fault.map(|fault| fault.to_string())).collect()
}

#[test]
fn faults_are_what_flags_would_say() {
    let faults = read(
        "require = [\"p99<50ms\"]\nslo = 99.9\n[load]\nstages = \"1m:100\"\nthink = \"1s\"\n\
         [[fault]]\nkill = \"stateless\"\nat = \"5s\"\n\
         [[fault]]\nfreeze = \"a-lb\"\nfor = \"3s\"\nevery = \"20s\"\n\
         [[fault]]\nexec = \"cut a\"\nundo = \"heal a\"\nfor = \"2s\"\nafter = \"1s\"\n\
         [[fault]]\ndestroy = \"b\"\nrandom = \"1m\"\n\
         [[fault]]\ncut = \"b\"\nfor = \"2s\"\nat = \"9s\"\noverlap = true\n\
         [[fault]]\nresume = \"b\"\nat = \"9s\"\n",
    );
    let expected = [
        "kill stateless @5s",
        "freeze a-lb for 3s @every 20s",
        "exec:cut a undo:heal a for 2s @+1s",
        "kill b @random 1m",
        "cut b for 2s @9s overlap",
        "thaw b @9s",
    ];
    assert_eq!(faults.unwrap(), expected);
}

#[test]
fn what_is_wrong_is_shown_where_it_stands() {
    for (text, place, expected) in [
        ("[load]\nrat = 5\n", "s.toml:2:1: ", "did you mean `rate`?"),
        ("[load]\nrate = 0\n", "s.toml:2:8: ", "more than 0"),
        ("[load]\nduration = \"5\"\n", "s.toml:2:12: ", "such as 500ms"),
        ("[load]\nstages = \"5\"\n", "s.toml:2:10: ", "such as 1m:100,2m:2000"),
        ("[load]\nconnections = \"none\"\n", "s.toml:2:15: ", "`half`"),
        ("require = [\"p98<5ms\"]\n", "s.toml:1:11: ", "`p98`"),
        ("managers = [\"a\"]\n", "s.toml:1:12: ", "such as http://192.168.10.1:8080"),
        ("slo = 101\n", "s.toml:1:7: ", "up to 100"),
        ("[[fault]]\nkill = \"a\"\n", "s.toml:1:1: ", "one of at, after, every and random"),
        ("[[fault]]\nkill = \"a\"\nat = \"1s\"\nevery = \"1s\"\n", "s.toml:1:1: ", "one of at"),
        ("[[fault]]\nkil = \"a\"\n", "s.toml:2:1: ", "did you mean `kill`?"),
        ("[[fault]]\nat = \"1s\"\n", "s.toml:1:1: ", "expected one of kill"),
        ("[[fault]]\nkill = \"a\"\nfor = \"1s\"\nat = \"1s\"\n", "s.toml:1:1: ", "leave out `for`"),
        ("[[fault]]\ncut = \"a\"\nat = \"1s\"\n", "s.toml:1:1: ", "say for how long"),
        ("[[fault]]\nkill = \"a\"\nafter = \"1s\"\noverlap = true\n", "s.toml:1:1: ", "take one"),
        ("[[fault]]\nexec = \"a\"\nfor = \"1s\"\nat = \"1s\"\n", "s.toml:1:1: ", "needs `undo`"),
        ("[[fault]]\nexec = \"a\"\nkill = \"b\"\nat = \"1s\"\n", "s.toml:1:1: ", "expected one of kill"),
        ("[[target]]\nwieght = 1\n", "s.toml:2:1: ", "did you mean `weight`?"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(place) && error.contains(expected), "{text}: {error}");
    }
}
