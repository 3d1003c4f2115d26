//! Tools and the choice among them, checked.

use super::plan::Form;
use super::request::{AllowedMode, ChoiceKind, NamedChoice, Tool, ToolChoice, ToolMode};
use crate::error::{ApiError, quoted};
use crate::limits::{MAX_NAME_CHARS, MAX_TOOLS};
use crate::openai::fields::Items;
use engine::ConstraintSpec;
use serde_json::{Map, Value, json};

/// What a request says about tools.
#[derive(Debug, Default)]
pub struct ToolPlan {
    /// The definitions as templates read them.
    pub definitions: Vec<Value>,
    /// Whether calls are looked for in the answer.
    pub parse: bool,
    /// Whether there must be a call.
    pub required: bool,
    /// Whether there may be several calls.
    parallel: bool,
    /// Whether calls are constrained also where they are not required.
    constrained: bool,
    /// The functions that may be called.
    callable: Vec<Callable>,
}

#[derive(Debug)]
struct Callable {
    name: String,
    schema: Option<Value>,
    strict: bool,
}

/// What [`ToolChoice`] comes to.
struct Choice {
    mode: ToolMode,
    /// The functions it names; `None`: all.
    only: Option<Vec<String>>,
}

impl ToolPlan {
    /// Checks names, schemas and the choice.
    pub fn new(
        tools: Option<&Items<Tool, MAX_TOOLS>>,
        choice: Option<&ToolChoice>,
        parallel: Option<bool>,
    ) -> Result<ToolPlan, ApiError> {
        let tools = tools.map(|tools| tools.0.as_slice()).unwrap_or_default();
        let mut plan = ToolPlan::default();
        for (index, tool) in tools.iter().enumerate() {
            let callable = callable(index, tool)?;
            if plan.callable.iter().any(|other| other.name == callable.name) {
                let message = format!("`{}` is defined twice", callable.name);
                return Err(ApiError::invalid(format!("tools[{index}].function.name"), message));
            }
            plan.definitions.push(definition(tool, &callable));
            plan.callable.push(callable);
        }
        let Choice { mode, only } = match choice {
            Some(choice) => self::choice(choice, &plan.callable)?,
            None => Choice { mode: ToolMode::Auto, only: None },
        };
        let restricted = only.is_some();
        if let Some(only) = only {
            plan.callable.retain(|callable| only.contains(&callable.name));
        }
        plan.required = mode == ToolMode::Required;
        plan.parse = mode != ToolMode::None && !plan.callable.is_empty();
        if plan.required && plan.callable.is_empty() {
            return Err(ApiError::invalid("tool_choice", "there are no `tools` to call"));
        }
        plan.parallel = parallel.unwrap_or(!plan.required);
        plan.constrained =
            restricted || parallel == Some(false) || plan.callable.iter().any(|callable| callable.strict);
        Ok(plan)
    }

    /// The constraint on calls, if there is one.
    pub fn form(&self) -> Option<Form> {
        if !self.parse || !(self.required || self.constrained) {
            return None;
        }
        let spec = |keep: &dyn Fn(&Callable) -> bool| ConstraintSpec::ToolCalls {
            functions: self
                .callable
                .iter()
                .map(|callable| (callable.name.clone(), callable.schema.clone().filter(|_| keep(callable))))
                .collect(),
            required: self.required,
            parallel: self.parallel,
        };
        // where nobody decides strictly, a schema that we cannot enforce is the model's own business
        let enforced = |callable: &Callable| self.required || callable.strict;
        let lenient = spec(&|callable| callable.strict);
        let spec = spec(&enforced);
        Some(Form { lenient: (lenient != spec).then_some(lenient), spec, param: "tools" })
    }
}

fn callable(index: usize, tool: &Tool) -> Result<Callable, ApiError> {
    let function = &tool.function;
    check_name(&format!("tools[{index}].function.name"), &function.name)?;
    let schema =
        function.parameters.as_ref().map(|parameters| parameters.0.clone()).filter(|value| !value.is_null());
    if schema.as_ref().is_some_and(|schema| !schema.is_object()) {
        return Err(ApiError::invalid(
            format!("tools[{index}].function.parameters"),
            "a schema is an object",
        ));
    }
    Ok(Callable { name: function.name.clone(), schema, strict: function.strict.unwrap_or(false) })
}

/// The definition in the order that models were trained on.
fn definition(tool: &Tool, callable: &Callable) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(callable.name));
    if let Some(description) = &tool.function.description {
        function.insert("description".to_owned(), json!(description));
    }
    if let Some(schema) = &callable.schema {
        function.insert("parameters".to_owned(), schema.clone());
    }
    json!({"type": "function", "function": function})
}

fn choice(choice: &ToolChoice, callable: &[Callable]) -> Result<Choice, ApiError> {
    let known = |param: &str, name: &str| match callable.iter().any(|callable| callable.name == name) {
        true => Ok(name.to_owned()),
        false => Err(ApiError::invalid(param, format!("`{}` is not one of `tools`", quoted(name)))),
    };
    match choice {
        ToolChoice::Mode(mode) => Ok(Choice { mode: *mode, only: None }),
        ToolChoice::Named(named) => match &**named {
            NamedChoice { kind: ChoiceKind::Function, function: Some(function), .. } => {
                let name = known("tool_choice.function.name", &function.name)?;
                Ok(Choice { mode: ToolMode::Required, only: Some(vec![name]) })
            }
            NamedChoice { kind: ChoiceKind::AllowedTools, allowed_tools: Some(allowed), .. } => {
                let names = allowed.tools.0.iter().enumerate().map(|(index, tool)| {
                    known(
                        &format!("tool_choice.allowed_tools.tools[{index}].function.name"),
                        &tool.function.name,
                    )
                });
                let mode = match allowed.mode {
                    AllowedMode::Auto => ToolMode::Auto,
                    AllowedMode::Required => ToolMode::Required,
                };
                Ok(Choice { mode, only: Some(names.collect::<Result<_, _>>()?) })
            }
            NamedChoice { kind: ChoiceKind::Function, .. } => {
                Err(ApiError::invalid("tool_choice.function", "this field is required"))
            }
            NamedChoice { kind: ChoiceKind::AllowedTools, .. } => {
                Err(ApiError::invalid("tool_choice.allowed_tools", "this field is required"))
            }
        },
    }
}

/// Refuses names that OpenAI refuses, and that a constraint could not spell.
pub fn check_name(param: &str, name: &str) -> Result<(), ApiError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=MAX_NAME_CHARS).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let message =
        format!("`{}` is not 1 to {MAX_NAME_CHARS} of the characters A-Z a-z 0-9 _ -", quoted(name));
    Err(ApiError::invalid(param, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(tools: Value, choice: Option<Value>, parallel: Option<bool>) -> Result<ToolPlan, ApiError> {
        let tools = crate::json::parse::<Items<Tool, MAX_TOOLS>>(tools.to_string().as_bytes())?.0;
        let choice = match choice {
            Some(choice) => Some(crate::json::parse::<ToolChoice>(choice.to_string().as_bytes())?.0),
            None => None,
        };
        ToolPlan::new(Some(&tools), choice.as_ref(), parallel)
    }

    fn tool(name: &str, strict: bool) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}, "strict": strict}})
    }

    #[test]
    fn calls_are_constrained_where_somebody_relies_on_their_form() {
        let names = |plan: &ToolPlan| match plan.form() {
            Some(Form { spec: ConstraintSpec::ToolCalls { functions, required, parallel }, .. }) => {
                let names: Vec<String> = functions.into_iter().map(|(name, _)| name).collect();
                Some((names.join(" "), required, parallel))
            }
            _ => None,
        };
        let both = || json!([tool("f", false), tool("g", false)]);
        let function = |name: &str| json!({"type": "function", "function": {"name": name}});
        let allowed =
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("f")]}});
        for (tools, choice, parallel, expected) in [
            (both(), None, None, None),
            (both(), Some(json!("auto")), None, None),
            (both(), Some(json!("none")), None, None),
            (both(), Some(json!("required")), None, Some(("f g", true, false))),
            (both(), Some(json!("required")), Some(true), Some(("f g", true, true))),
            (both(), Some(function("g")), None, Some(("g", true, false))),
            (both(), Some(allowed), None, Some(("f", false, true))),
            (both(), None, Some(false), Some(("f g", false, false))),
            (json!([tool("f", true), tool("g", false)]), None, None, Some(("f g", false, true))),
        ] {
            let plan = plan(tools, choice.clone(), parallel).expect("tools");
            let expected = expected.map(|(names, required, parallel)| (names.to_owned(), required, parallel));
            assert_eq!(names(&plan), expected, "{choice:?} {parallel:?}");
        }
    }

    #[test]
    fn a_wrong_tool_names_its_place() {
        let many: Vec<Value> = (0..=MAX_TOOLS).map(|i| tool(&format!("f{i}"), false)).collect();
        for (tools, choice, param) in [
            (json!([tool("a b", false)]), None, "tools[0].function.name"),
            (json!([tool("f", false), tool("", false)]), None, "tools[1].function.name"),
            (json!([tool(&"f".repeat(65), false)]), None, "tools[0].function.name"),
            (json!([tool("f", false), tool("f", false)]), None, "tools[1].function.name"),
            (json!([{"type": "custom", "custom": {}}]), None, "[0].type"),
            (
                json!([{"type": "function", "function": {"name": "f", "parameters": 1}}]),
                None,
                "tools[0].function.parameters",
            ),
            (json!([]), Some(json!("required")), "tool_choice"),
            (
                json!([tool("f", false)]),
                Some(json!({"type": "function", "function": {"name": "g"}})),
                "tool_choice.function.name",
            ),
            (json!([tool("f", false)]), Some(json!({"type": "function"})), "tool_choice.function"),
            (json!(many), None, "body"),
        ] {
            let error = plan(tools, choice, None).expect_err(param);
            assert_eq!(error.body().error.param.as_deref(), Some(param), "{error}");
        }
    }
}
