//! The mails: one typed struct each, HTML (escaped by askama) and text (NTF-02).
//!
//! A variable that a template names and its struct lacks is a build error; one that a caller leaves out is
//! refused when the mail is ordered. Owns the words. Must not know the queue, SMTP or the bus.

#[macro_use]
mod define;
mod catalogue;
mod mail;

pub use catalogue::{
    AccountExists, BillingReminder, EmailVerification, InstanceDeleted, InstanceProvisioningFailed,
    InstanceProvisioningStarted, InstanceReady, InstanceResumed, InstanceStarted, InstanceStopped,
    InstanceSuspended, InvoiceCreated, InvoicePaid, LoginBlocked, OverduePayment, PasswordChanged,
    PasswordReset, PaymentFailure, PaymentReceived, ServiceTerminated, SubscriptionCancelled,
    SubscriptionExpired, SubscriptionReactivated, SubscriptionUpgrade, TEMPLATES, TrialEnding, Welcome,
};
pub use define::ByTemplate;
pub use mail::{BadVariables, Entry, Mail, Page, Recipient, Rendered};

/// The pages of the platform that mails may link to. The gateway serves them; until there is a portal there
/// are no others.
pub const PAGES: [&str; 3] = ["/verify-email", "/reset-password", "/reveal"];

/// The template of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    TEMPLATES.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn page() -> Page {
        Page { brand: "SaaSOdoo".into(), frontend_url: "https://app.example.com".into() }
    }

    fn ada() -> Recipient {
        Recipient { first_name: "Ada".into() }
    }

    /// NTF-02…06: every mail as it is read.
    #[test]
    fn every_template_looks_as_agreed() {
        for entry in TEMPLATES {
            let mail = entry.render(entry.sample(), &ada(), &page()).unwrap();
            assert!(mail.text.starts_with(&mail.subject), "{}", mail.text);
            insta::assert_snapshot!(format!("{}.text", entry.name), mail.text);
            insta::assert_snapshot!(format!("{}.html", entry.name), mail.html);
        }
    }

    /// No mail leads to a page that nobody serves: each link is to one of [`PAGES`] or to the customer's own
    /// instance, and the gateway's list of public routes has these pages.
    #[test]
    fn every_link_leads_somewhere() {
        let routes = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../gateway/tests/it/snapshots/it__access__nothing_else_is_public.snap"
        );
        let routes = std::fs::read_to_string(routes).unwrap();
        for page in PAGES {
            assert!(routes.lines().any(|line| line.ends_with(&format!(" {page}"))), "no route {page}");
        }
        for entry in TEMPLATES {
            let mail = entry.render(entry.sample(), &ada(), &page()).unwrap();
            let instance = entry.sample().get("url").and_then(Value::as_str).map(str::to_owned);
            for part in [&mail.html, &mail.text] {
                for link in links(part) {
                    let path =
                        link.strip_prefix("https://app.example.com").and_then(|rest| rest.split('?').next());
                    let known =
                        path.is_some_and(|path| PAGES.contains(&path)) || Some(&link) == instance.as_ref();
                    assert!(known, "{}: {link}", entry.name);
                }
            }
        }
    }

    /// Everything in a mail that a mail program makes a link of.
    fn links(text: &str) -> Vec<String> {
        let starts = text
            .match_indices("http")
            .map(|(at, _)| &text[at..])
            .filter(|rest| rest.starts_with("http://") || rest.starts_with("https://"));
        starts
            .map(|rest| rest.split([' ', '"', '<', '\n', ',']).next().unwrap_or_default().to_owned())
            .collect()
    }

    /// Until an address is proved, a name in a mail could be a stranger's words to its owner.
    #[test]
    fn who_is_not_known_is_greeted_without_a_name() {
        let nobody = Recipient { first_name: String::new() };
        let entry = find("email_verification").unwrap();
        let mail = entry.render(entry.sample(), &nobody, &page()).unwrap();
        assert!(mail.text.contains("\nHello,\n") && mail.html.contains("Hello,</p>"), "{}", mail.text);
    }

    /// NTF-02: a name with markup arrives as text.
    #[test]
    fn html_is_escaped_and_text_is_not() {
        let mut variables = find("instance_ready").unwrap().sample();
        variables["name"] = Value::from("<script>alert(1)</script> & Co");
        let mail = find("instance_ready").unwrap().render(variables, &ada(), &page()).unwrap();
        assert!(!mail.html.contains("<script>"));
        assert!(mail.html.contains("&#60;script&#62;"));
        assert!(mail.text.contains("<script>alert(1)</script> & Co"));
    }

    /// NTF-02
    #[test]
    fn missing_and_unknown_variables_are_refused_by_name() {
        let entry = find("email_verification").unwrap();
        let missing = entry.check(serde_json::json!({}), &page()).unwrap_err();
        assert!(missing.to_string().contains("token"), "{missing}");
        let unknown = entry.check(serde_json::json!({"token": "t", "html": "<b>"}), &page()).unwrap_err();
        assert!(unknown.to_string().contains("html"), "{unknown}");
    }

    /// NTF-05: the portal, scripts and people find the token.
    #[test]
    fn the_verification_mail_holds_a_link_with_the_token_in_both_parts() {
        let entry = find("email_verification").unwrap();
        let token = "Zx9-abc_DEF0123456789zzzzzzzzzzzzzzzzzzzzzzz";
        let mail = entry.render(serde_json::json!({ "token": token }), &ada(), &page()).unwrap();
        let link = format!("https://app.example.com/verify-email?token={token}");
        assert!(mail.text.contains(&link), "{}", mail.text);
        assert!(mail.html.contains(&link));
        assert!(mail.text.matches(token).count() >= 2, "the token also stands alone");
        assert!(!mail.subject.contains(token));
    }

    /// NTF-10
    #[test]
    fn tokens_are_kept_apart_from_what_history_shows() {
        let entry = find("password_reset").unwrap();
        let (open, secret) = entry.split(entry.sample());
        assert!(open.get("token").is_none());
        assert!(secret.unwrap().get("token").is_some());
        assert_eq!(entry.secrets().collect::<Vec<_>>(), ["token"]);
    }

    #[test]
    fn a_subject_cannot_break_out_of_its_line() {
        let mut variables = find("instance_stopped").unwrap().sample();
        variables["name"] = Value::from("x\r\nBcc: all@example.com");
        let mail = find("instance_stopped").unwrap().render(variables, &ada(), &page()).unwrap();
        assert!(!mail.subject.contains(['\r', '\n']));
    }

    #[test]
    fn names_are_unique() {
        for (index, entry) in TEMPLATES.iter().enumerate() {
            assert!(TEMPLATES[index + 1..].iter().all(|other| other.name != entry.name), "{}", entry.name);
        }
    }
}
