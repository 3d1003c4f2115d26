"""Writes clinic.jsonl (480 conversations to learn) and cases.jsonl (60 others to be asked): the departments of one hospital.

Put your own departments in the table, or anything else that a question should bring back, and run `python3 make.py` here.
"""

import json

# department and place, in English and in Chinese, and the complaints that belong there
DEPARTMENTS = [
    ("Spine Centre", "building C", "脊柱中心", "C座",
     ["back pain", "neck pain", "a slipped disc"], ["腰疼", "脖子疼", "腰椎间盘突出"]),
    ("Headache Clinic", "second floor", "头痛门诊", "二楼",
     ["headaches", "migraine", "pressure in the head"], ["头疼", "偏头痛", "头部发紧"]),
    ("Sleep Lab", "basement", "睡眠实验室", "地下一层",
     ["trouble sleeping", "loud snoring", "bad dreams"], ["睡不着", "打呼噜", "做噩梦"]),
    ("Sports Injury Desk", "main hall", "运动损伤台", "大厅",
     ["a sprained ankle", "a sore knee after running", "a pulled muscle"], ["脚踝扭伤", "跑步后膝盖疼", "肌肉拉伤"]),
    ("Travel Medicine", "room 12", "旅行医学门诊", "12室",
     ["a fever after a trip", "mosquito bites from a journey", "a reaction to a vaccine"],
     ["旅行后发烧", "路上被蚊子咬", "打疫苗后不舒服"]),
    ("Allergy Centre", "garden house", "过敏中心", "花园楼",
     ["hay fever", "hives", "itching after nuts"], ["花粉过敏", "荨麻疹", "吃坚果后发痒"]),
    ("Skin Studio", "first floor", "皮肤工作室", "一楼",
     ["acne", "a rash", "dry skin"], ["长痘", "起疹子", "皮肤干燥"]),
    ("Heart House", "building A", "心脏楼", "A座",
     ["palpitations", "high blood pressure", "swollen ankles"], ["心悸", "高血压", "脚踝浮肿"]),
    ("Eye Rooms", "third floor", "眼科室", "三楼",
     ["blurred vision", "red eyes", "watery eyes"], ["视力模糊", "眼睛发红", "流眼泪"]),
    ("Kids Corner", "ground floor", "儿童角", "底层",
     ["a child with a cough", "a baby that cries all night", "a child with an earache"],
     ["孩子咳嗽", "宝宝整夜哭闹", "孩子耳朵疼"]),
]
LEARNED = {
    "en": ["I have {c}. Which department should I visit?", "Where do I go with {c}?",
           "{C}. What department is right?", "It is about {c}. Which department, please?",
           "My problem is {c}. Who can help me?", "Could you tell me who treats {c}?",
           "{C} since yesterday. Where should I go?", "Which doctor is the right one for {c}?"],
    "zh": ["我{c}，挂什么科？", "{c}该看哪个科？", "{c}，有点难受，去哪个科室？", "请问{c}挂哪一科？",
           "这两天{c}，该去哪儿看？", "医生您好，我{c}，去哪个科？", "帮忙问一下，{c}找哪个科？", "{c}好几天了，怎么挂号？"],
}
ASKED = {
    "en": ["We are dealing with {c}. Where should we go?", "Please tell me the department for {c}."],
    "zh": ["最近{c}，应该看什么科？", "帮我看看{c}去哪里看。"],
}
FIRST = {"en": "Department: {name}, {place}", "zh": "建议科室：{name}，{place}"}
REST = {
    "en": "\nRed flags: none. If it gets worse, see a doctor soon.\nThis is no medical advice.",
    "zh": "\n危险信号：无。如果加重，请尽快就医。\n仅供参考，不能代替医生。",
}


def user(form, complaint):
    """A question as the message that asks it."""
    return {"role": "user", "content": form.format(c=complaint, C=complaint[0].upper() + complaint[1:])}


def main():
    """Writes both files."""
    learned, asked = [], []
    for name_en, place_en, name_zh, place_zh, en, zh in DEPARTMENTS:
        for language, name, place, complaints in (("en", name_en, place_en, en), ("zh", name_zh, place_zh, zh)):
            first = FIRST[language].format(name=name, place=place)
            answer = {"role": "assistant", "content": first + REST[language]}
            for i, complaint in enumerate(complaints):
                learned += [{"messages": [user(form, complaint), answer]} for form in LEARNED[language]]
                asked.append({
                    "id": f"{language}-{len(asked)}", "group": language,
                    "messages": [user(ASKED[language][i % 2], complaint)], "expected": {"contains": [first]},
                })
    for path, lines in (("clinic.jsonl", learned), ("cases.jsonl", asked)):
        with open(path, "w", encoding="utf-8") as out:
            out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


if __name__ == "__main__":
    main()
