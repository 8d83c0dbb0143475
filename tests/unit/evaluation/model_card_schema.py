"""The schema of SageMaker's model cards, by its fields and limits.

Written from "Model card JSON schema" (``SageMakerModelCardSchema`` 0.1.0, draft 7) of the Amazon SageMaker Developer
Guide, https://docs.aws.amazon.com/sagemaker/latest/dg/model-cards.html#model-cards-json-schema. Two
differences, both stricter here: it writes ``objective_function`` without the word ``properties``, so that its schema
checks nothing there, and its limits of lists are in places where JSON Schema does not look (``maxItems`` inside
``items``) or not of draft 7 (``maxContains`` alone). The fields of training and evaluation, hyperparameters and
``business_details`` among them, were compared with those of the model package's card,
https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-details.html#model-card-schema.
"""

from __future__ import annotations

from typing import Any


def text(limit: int | None = None) -> dict[str, Any]:
    return {"type": "string"} if limit is None else {"type": "string", "maxLength": limit}


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def items(of: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": of, **more}


AXIS, NAME = text(63), {"type": "string", "pattern": "^.{1,255}$"}
NUMBER = {"type": "number"}
IMAGES = fields(container_image=items(text(1024)))
TRAINING_METRIC = fields(("name", "value"), name=NAME, notes=text(1024), value=NUMBER)

PARAMETER = fields(("name", "value"), name=NAME, value=NAME)


def metric(kinds: list[str], value: dict[str, Any], x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return fields(
        ("name", "type", "value"),
        name=NAME, notes=text(1024), type={"enum": kinds}, value=value, x_axis_name=x, y_axis_name=y,
    )  # fmt: skip


SIMPLE = metric(["number", "string", "boolean"], {"anyOf": [NUMBER, text(63), {"type": "boolean"}]}, AXIS, AXIS)
PAIRS = items(items(NUMBER, minItems=2, maxItems=2), minItems=1, maxItems=20)
LINES = metric(["linear_graph"], PAIRS, AXIS, AXIS)
BARS = metric(["bar_chart"], items(NUMBER, minItems=1, maxItems=20), items(AXIS), AXIS)
MATRIX = metric(
    ["matrix"], items(items(NUMBER, minItems=1, maxItems=20), minItems=1, maxItems=20), items(AXIS), items(AXIS)
)
GROUP_NAME = {"type": "string", "pattern": "^.{1,63}$"}

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    **fields(
        model_overview=fields(
            model_description=text(1024), model_owner=text(1024), model_creator=text(1024), problem_type=text(),
            algorithm_type=text(1024), model_id=text(1024), model_artifact=items(text(1024), maxItems=15),
            model_name=text(1024), model_version={"type": "number", "minimum": 1}, inference_environment=IMAGES,
        ),
        intended_uses=fields(
            purpose_of_model=text(2048), intended_uses=text(2048), factors_affecting_model_efficiency=text(2048),
            risk_rating={"enum": ["High", "Medium", "Low", "Unknown"]}, explanations_for_risk_rating=text(2048),
        ),
        business_details=fields(
            business_problem=text(2048), business_stakeholders=text(2048), line_of_business=text(2048)
        ),
        training_details=fields(
            objective_function=fields(
                function=fields(function={"enum": ["Maximize", "Minimize"]}, facet=text(63), condition=text(63)),
                notes=text(1024),
            ),
            training_observations=text(1024),
            training_job_details=fields(
                training_arn=text(1024), training_datasets=items(text(1024), maxItems=15),
                training_environment=IMAGES, training_metrics=items(TRAINING_METRIC, maxItems=50),
                user_provided_training_metrics=items(TRAINING_METRIC, maxItems=50),
                hyper_parameters=items(PARAMETER, maxItems=100),
                user_provided_hyper_parameters=items(PARAMETER, maxItems=100),
            ),
        ),
        evaluation_details=items(
            fields(
                ("name",),
                name=GROUP_NAME, evaluation_observation=text(2096), evaluation_job_arn=text(256),
                datasets=items(text(1024), maxItems=10),
                metadata={"type": "object", "additionalProperties": text(1024)},
                metric_groups=items(
                    fields(
                        ("name", "metric_data"),
                        name=GROUP_NAME,
                        metric_data=items({"anyOf": [SIMPLE, LINES, BARS, MATRIX]}),
                    )
                ),
            )
        ),
        additional_information=fields(
            ethical_considerations=text(2048), caveats_and_recommendations=text(2048),
            custom_details={"type": "object", "additionalProperties": text(1024)},
        ),
    ),
}  # fmt: skip
