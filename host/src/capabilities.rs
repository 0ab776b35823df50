//! The capabilities that `llm-osd` links, one line for each.
//!
//! A dependency that no source line names is not linked, and its registration is silently gone; so a test compares
//! these lines with the manifest.

use llm_os_exec as _;
use llm_os_fs as _;
use llm_os_keyboard as _;
use llm_os_monitor as _;
use llm_os_mouse as _;
