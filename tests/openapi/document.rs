//! `docs/openapi.yaml`, read: its operations, and the schemas of what they take and give.

use serde_json::{Map, Value, json};

/// The whole of it.
pub struct Document(Value);

/// A method of a path.
#[derive(Debug, Clone)]
pub struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    /// Whether a token is needed where one is asked for.
    pub is_guarded: bool,
}

/// A parameter of a query.
#[derive(Debug, Clone)]
pub struct Parameter {
    pub name: String,
    pub is_required: bool,
    pub schema: Value,
}

/// What an answer of a status is documented to be.
pub struct Response {
    /// Its type, and the schema of it.
    pub content: Option<(String, Value)>,
    pub headers: Vec<String>,
}

impl Document {
    pub fn read() -> Self {
        let text = std::fs::read_to_string("docs/openapi.yaml").expect("the document");
        Self(serde_norway::from_str(&text).expect("it is YAML"))
    }

    pub fn paths(&self) -> Vec<String> {
        let paths = self.0["paths"].as_object().expect("paths");
        paths.keys().cloned().collect()
    }

    pub fn has(&self, method: &str, path: &str) -> bool {
        self.0["paths"][path].get(method.to_lowercase()).is_some()
    }

    pub fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, methods) in self.0["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                operations.push(Operation {
                    id: operation["operationId"].as_str().expect("an id").into(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                    is_guarded: operation.get("security").is_none(),
                });
            }
        }
        operations
    }

    pub fn operation(&self, id: &str) -> Operation {
        let mut operations = self.operations().into_iter();
        let found = operations.find(|operation| operation.id == id);
        found.unwrap_or_else(|| panic!("there is no operation {id}"))
    }

    fn of(&self, operation: &Operation) -> &Value {
        &self.0["paths"][&operation.path][operation.method.to_lowercase()]
    }

    /// The schema of the body of a request.
    pub fn body(&self, operation: &Operation) -> Option<Value> {
        let body = self.of(operation).get("requestBody")?;
        Some(body["content"]["application/json"]["schema"].clone())
    }

    pub fn examples(&self, operation: &Operation) -> Vec<Value> {
        let body = &self.of(operation)["requestBody"]["content"]["application/json"];
        let examples = body["examples"]
            .as_object()
            .into_iter()
            .flat_map(Map::values);
        examples.map(|example| example["value"].clone()).collect()
    }

    /// The parameters of a query, tokens aside.
    pub fn query(&self, operation: &Operation) -> Vec<Parameter> {
        let list = self.of(operation)["parameters"].as_array();
        let all = list.into_iter().flatten().map(|entry| self.resolve(entry));
        all.filter(|entry| entry["in"] == "query" && entry["schema"]["format"] != "jwt")
            .map(|entry| Parameter {
                name: entry["name"].as_str().expect("a name").into(),
                is_required: entry["required"] == true,
                schema: entry["schema"].clone(),
            })
            .collect()
    }

    pub fn response(&self, method: &str, path: &str, status: u16) -> Option<Response> {
        let operation = self.0["paths"][path].get(method.to_lowercase())?;
        let response = operation["responses"].get(status.to_string())?;
        let response = self.resolve(response);
        let content = response["content"].as_object();
        let content = content.and_then(|content| content.iter().next());
        let headers = response["headers"].as_object().into_iter();
        // What a limit is about, some have and some do not.
        let headers = headers.flat_map(Map::keys).cloned();
        Some(Response {
            content: content.map(|(kind, media)| (kind.clone(), media["schema"].clone())),
            headers: headers.collect(),
        })
    }

    /// What a reference stands for.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"]
            .as_str()
            .and_then(|text| text.strip_prefix('#'))
        {
            None => value,
            Some(pointer) => {
                let found = self.0.pointer(pointer);
                self.resolve(found.unwrap_or_else(|| panic!("there is no {pointer}")))
            }
        }
    }

    pub fn is_valid(&self, schema: &Value, value: &Value) -> bool {
        self.validator(schema).is_valid(value)
    }

    /// Holds a value to a schema.
    pub fn check(&self, schema: &Value, value: &Value, what: &str) {
        let validator = self.validator(schema);
        if let Err(error) = validator.validate(value) {
            panic!("{what}: {error} at {}: {value}", error.instance_path());
        }
    }

    fn validator(&self, schema: &Value) -> jsonschema::Validator {
        let whole = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [schema],
            "components": self.0["components"],
        });
        jsonschema::validator_for(&whole).expect("it is a schema")
    }
}
