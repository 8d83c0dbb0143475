"""Nothing but an answer: what Python and the runtime client cost by themselves."""


def handler(event, context):
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": "{}"}
