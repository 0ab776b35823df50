//! What always asks is not permitted without asking, with the programs of this machine.

use super::*;

fn try_linked(text: &str, is_preset: bool) -> Result<Policy, PolicyError> {
    let text = Text::one("policy".to_owned(), text.to_owned(), is_preset);
    Policy::of(text, &Registry::linked().unwrap(), Roots::default(), Protected::default())
}

#[track_caller]
fn refused_for(text: &str, parts: &[&str]) {
    let error = try_linked(text, false).err().unwrap_or_else(|| panic!("accepted: {text}")).to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

fn permit(scope: &str) -> String {
    format!("@id(\"p\") permit(principal, action in Action::\"run\", {scope};")
}

/// E15, E23. Guard: `asking::check` at load.
#[test]
fn an_interpreter_is_not_permitted_without_a_human_whatever_names_it() {
    for scope in [
        "resource == Program::\"/bin/sh\")",
        "resource in Path::\"/bin/sh\")",
        "resource) when { resource == Program::\"/bin/sh\" }",
        "resource) when { context.argc == 1 && (resource == Program::\"/bin/ls\" || resource == Program::\"/bin/sh\") }",
        "resource) when { [Program::\"/bin/ls\", Program::\"/bin/sh\"].contains(resource) }",
        "resource) unless { resource != Program::\"/bin/sh\" }",
        "resource == Program::\"/bin/sh\") when { context.confirmed || context.argc == 1 }",
        "resource == Program::\"/bin/sh\") unless { context.confirmed }",
    ] {
        refused_for(&permit(scope), &["policy \"p\"", "it is a shell", "when { context.confirmed }"]);
    }
    for scope in [
        "resource == Program::\"/bin/sh\") when { context.confirmed }",
        "resource == Program::\"/bin/sh\") when { context.argc == 1 } when { context.argc == 1 && context.confirmed }",
        "resource == Program::\"/bin/sh\") unless { !context.confirmed || context.argc > 2 }",
        "resource) unless { resource == Program::\"/bin/sh\" }",
        "resource) when { context.argc == 1 && !(resource == Program::\"/bin/sh\") }",
        "resource in Path::\"/bin\")",
        "resource == Program::\"/bin/ls\")",
    ] {
        try_linked(&permit(scope), false).unwrap_or_else(|e| panic!("{scope}: {e}"));
    }
    try_linked("forbid(principal, action, resource == Program::\"/bin/sh\");", false).unwrap();
}

#[test]
fn a_wrapper_and_a_build_tool_are_known_by_name_even_where_they_are_not_there() {
    refused_for(
        &permit("resource == Program::\"/opt/none/xargs\")"),
        &["/opt/none/xargs", "it is a wrapper"],
    );
    refused_for(&permit("resource == Program::\"/opt/none/cargo\")"), &["the code of the project"]);
    refused_for(&permit("resource == Program::\"/opt/none/busybox\")"), &["many programs in one"]);
}

/// E23. Guard: `Capability::always_asks`.
#[test]
fn a_script_and_a_program_that_others_can_change_are_not_permitted_without_a_human() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().canonicalize().unwrap().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let scope = format!("resource == Program::\"{}\")", script.display());
    refused_for(&permit(&scope), &["it is a script", "others than root can change"]);
    let copy = dir.path().canonicalize().unwrap().join("echo");
    std::fs::copy("/bin/echo", &copy).unwrap();
    refused_for(
        &permit(&format!("resource == Program::\"{}\")", copy.display())),
        &["others than root can change"],
    );
}

#[test]
fn a_preset_is_told_of_it_and_loaded() {
    let policy = try_linked(&permit("resource == Program::\"/bin/sh\")"), true).unwrap();
    assert!(policy.notes().iter().any(|note| note.contains("it is a shell")), "{:?}", policy.notes());
}
