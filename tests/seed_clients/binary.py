import requests
import json
from PIL import Image
from io import BytesIO
import matplotlib.pyplot as plt

endpoint = "http://127.0.0.1:7866/v1/engine/generate/"

headers = {
    "Accept": "image/png"
}

params = {
    "prompt": "",
    "negative_prompt": "",
    "performance_selection": "Lightning",
    "webhook_url": ""
}

res = requests.post(
    url=endpoint,
    data=json.dumps(params),
    headers=headers,
    timeout=60
)

image_stream = BytesIO(res.content)
image = Image.open(image_stream)

plt.imshow(image)
plt.show()
