"""FastAPI with typed records behind Mangum; onnxruntime behind it."""

from fastapi import FastAPI
from mangum import Mangum
from onnx_model import matrix, predictions, session
from pydantic import BaseModel


class Applicant(BaseModel):
    age: int
    income: float
    debt_ratio: float
    open_accounts: int
    late_payments: int
    utilisation: float
    months_employed: int
    amount: float
    purpose: str
    region: str


class Request(BaseModel):
    model: str
    records: list[Applicant]


app = FastAPI()
model = session()


@app.post("/predict")
async def predict(request: Request):
    scores = model.run(["probabilities"], {"input": matrix([r.model_dump() for r in request.records])})[0]
    return {"predictions": predictions(scores)}


handler = Mangum(app, lifespan="off")
