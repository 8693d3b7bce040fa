//! The command line: help, versions, completions, and what is wrong with one.

use super::{ringress, said};

#[test]
fn help_and_version_are_as_people_expect() {
    for arguments in
        [&["--help"][..], &["-h"], &["help"], &["serve", "--help"], &["help", "serve"], &["doctor", "--help"]]
    {
        let (status, text, errors) = said(&mut ringress(arguments));
        assert_eq!((status, &*errors), (Some(0), ""), "{arguments:?}");
        assert!(text.contains("Usage: ringress") && text.contains("--help"), "{arguments:?}: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{arguments:?}: {text}");
    }
    let (_, text, _) = said(&mut ringress(&["--help"]));
    assert!(["serve", "doctor", "completions", "Exit status:"].iter().all(|word| text.contains(word)), "{text}");
    let version = format!("ringress {}\n", env!("CARGO_PKG_VERSION"));
    for argument in ["--version", "-V"] {
        assert_eq!(said(&mut ringress(&[argument])), (Some(0), version.clone(), String::new()));
    }
}

#[test]
fn every_shell_has_its_completions() {
    for (shell, wanted) in [("bash", "complete -F"), ("zsh", "#compdef ringress"), ("fish", "complete -c ringress")] {
        let (status, text, errors) = said(&mut ringress(&["completions", shell]));
        assert_eq!((status, &*errors), (Some(0), ""), "{shell}");
        assert!(text.contains(wanted) && text.contains("serve") && text.contains("listen"), "{shell}: {text}");
    }
}

#[test]
fn a_wrong_command_line_is_told_with_status_2() {
    for (arguments, wanted) in [
        (&[][..], "Usage: ringress"),
        (&["sreve"], "'serve'"),
        (&["serve"], "<DIR>"),
        (&["serve", ".", "--listen", "8080"], "'--listen <ADDR>': \"8080\" is no address to listen on: give an IP"),
        (&["serve", ".", "--listen", "unix:"], "'unix:' for '--listen <ADDR>'"),
        (&["serve", ".", "--listen", "unix:@"], "or a Unix socket, as unix:/run/app.sock or unix:@name"),
        (
            &["serve", ".", "--connections-per-address-max", "0"],
            "'0' for '--connections-per-address-max <N>': 0 is not in",
        ),
        (&["serve", ".", "--connection-rate-per-address-max", "1000001"], "1..=1000000"),
        (&["serve", ".", "--lisent", "127.0.0.1:0"], "'--listen'"),
        (&["doctor", "--listen", "localhost"], "an IP address and port are wanted"),
        (&["completions", "command.com"], "possible values"),
    ] {
        let (status, text, errors) = said(&mut ringress(arguments));
        assert_eq!((status, &*text), (Some(2), ""), "{arguments:?}: {errors}");
        assert!(errors.contains(wanted), "{arguments:?}: {errors}");
    }
}

#[test]
fn what_cannot_be_served_is_told_in_one_line_with_status_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("it is ours");
    let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let (folder, none, file) = (path(folder.path()), path(&folder.path().join("none")), path(&file));
    let (of_file, of_nowhere) = (format!("unix:{file}"), format!("unix:{none}/http.sock"));
    let of_long = format!("unix:@{}", "n".repeat(108));
    for (arguments, wanted) in [
        (&["serve", &*none][..], &*none),
        (&["serve", &file], "a directory is wanted"),
        (&["serve", &folder, "--listen", &address], &*format!("--listen {address}: ")),
        (&["serve", &folder, "--listen", &of_file], "is no socket"),
        (&["serve", &folder, "--listen", &of_nowhere], &of_nowhere),
        (&["serve", &folder, "--listen", &of_long], "an abstract name has from 1 to 107 bytes"),
    ] {
        let (status, text, errors) = said(&mut ringress(arguments));
        assert_eq!((status, &*text, errors.lines().count()), (Some(1), "", 1), "{arguments:?}: {errors}");
        assert!(errors.starts_with("ringress: ") && errors.contains(wanted), "{arguments:?}: {errors}");
    }
    let (status, _, errors) = said(ringress(&["serve", &folder]).env("RINGRESS_DRIVER", "warp"));
    assert_eq!(status, Some(1));
    assert!(errors.starts_with("ringress: RINGRESS_DRIVER: the driver is \"warp\""), "{errors}");
}
