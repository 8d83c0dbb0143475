"""AWS Lambda Powertools as its documentation shows it: resolver, logger with context; onnxruntime behind it."""

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from onnx_model import matrix, predictions, session

logger = Logger(service="predict")
app = APIGatewayRestResolver()
model = session()


@app.post("/predict")
def predict():
    records = app.current_event.json_body["records"]
    scores = model.run(["probabilities"], {"input": matrix(records)})[0]
    return {"predictions": predictions(scores)}


@logger.inject_lambda_context
def handler(event, context):
    response = app.resolve(event, context)
    logger.info("scored")
    return response
